package filter

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postmend/dkim"
	"postmend/dkim/arc"
)

// seal gives the next ARC set of a message. The words of spec are d, s and key as in sign; failed: the
// chain that arrived is found broken; break=body: the message changed since; break=seal: so did a set. By
// what package arc makes, tests and peers of its own vouch for it.
func (w *world) seal(t *testing.T, spec, header, body string) string {
	tag := map[string]string{"key": "rsa", "s": "s1"}
	for word := range strings.FieldsSeq(spec) {
		name, value, _ := strings.Cut(word, "=")
		tag[name] = value
	}
	der, err := x509.MarshalPKCS8PrivateKey(w.keys[tag["key"]])
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		0o600); err != nil {
		t.Fatal(err)
	}
	key, err := dkim.LoadKey(tag["d"], tag["s"], path)
	if err != nil {
		t.Fatal(err)
	}
	fields, _ := dkim.SplitHeader([]byte(header))
	if tag["break"] == "body" {
		body += "more\r\n"
	}
	hashed := dkim.NewBodyHash(dkim.Relaxed)
	io.WriteString(hashed, body)
	hashed.Close()
	_, failed := tag["failed"]
	set, err := arc.Read(fields).Seal(fields, hashed,
		arc.Sealing{Key: key, Results: tag["d"] + "; dmarc=pass header.from=bank.example",
			Intact: !failed, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	var text string
	for _, field := range set {
		text += string(field)
	}
	if tag["break"] == "seal" {
		text = strings.Replace(text, "dmarc=pass", "dmarc=fail", 1)
	}
	return text
}

// sealedWord is what a new ARC set says: its instance, its domain, and cv=.
func sealedWord(arrived, leaving string) string {
	fields := newFields(arrived, leaving, "ARC-Seal")
	if len(fields) == 0 && len(newFields(arrived, leaving, "ARC-Message-Signature"))+
		len(newFields(arrived, leaving, "ARC-Authentication-Results")) == 0 {
		return "none"
	}
	tag := func(name string) string {
		return regexp.MustCompile(`\b` + name + `=([^;\s]+)`).FindStringSubmatch(strings.Join(fields, ""))[1]
	}
	return fmt.Sprintf("%s %s %s", tag("i"), tag("d"), tag("cv"))
}
