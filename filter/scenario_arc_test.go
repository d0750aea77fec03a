package filter

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postmend/dkim"
	"postmend/dkim/arc"
)

// seal gives the next ARC set of a message. The words of spec are d, s and key as in sign; failed: the
// chain that arrived is found broken; break=body: the message changed since; break=seal: so did a set;
// dmarc= and from=: what the sealer saw, without them pass and bank.example; age=: a time such as 240h. By
// what package arc makes, tests and peers of its own vouch for it. With raw, it is made by the book instead,
// see sealByTheBook.
func (w *world) seal(t *testing.T, spec, header, body string) string {
	tag := map[string]string{"key": "rsa", "s": "s1", "dmarc": "pass", "from": "bank.example", "age": "0s"}
	for word := range strings.FieldsSeq(spec) {
		name, value, _ := strings.Cut(word, "=")
		tag[name] = value
	}
	age, err := time.ParseDuration(tag["age"])
	if err != nil {
		t.Fatal(err)
	}
	results := "mx." + tag["d"] + "; dmarc=" + tag["dmarc"] + " header.from=" + tag["from"]
	if _, raw := tag["raw"]; raw {
		return w.sealByTheBook(t, tag, results, age, header, body)
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
		arc.Sealing{Key: key, Results: results, Intact: !failed, Now: w.now.Add(-age)})
	if err != nil {
		t.Fatal(err)
	}
	var text string
	for _, field := range set {
		text += string(field)
	}
	if tag["break"] == "seal" {
		text = strings.NewReplacer("dmarc=pass", "dmarc=fail", "dmarc=fail", "dmarc=pass").Replace(text)
	}
	return text
}

// sealByTheBook makes a set by RFC 8617, apart from the code under test, and also such as nobody should make:
// i= is the instance, cv= what the seal says, h= what the message signature covers, l= how much of the body;
// without=t leaves t= of the seal out.
func (w *world) sealByTheBook(
	t *testing.T, tag map[string]string, results string, age time.Duration, header, body string,
) string {
	if tag["h"] == "" {
		tag["h"] = "from:to:subject:date"
	}
	canonical, limit := canonicalBody(body, "relaxed"), ""
	if l, err := strconv.Atoi(tag["l"]); err == nil {
		canonical, limit = canonical[:l], "l="+tag["l"]+"; "
	}
	bodyHash := sha256.Sum256([]byte(canonical))
	sign := func(covered, field string) string {
		own := strings.TrimSuffix(canonicalField(field+"\r\n", "relaxed"), "\r\n")
		hash := sha256.Sum256([]byte(covered + own))
		signature, err := w.keys[tag["key"]].Sign(rand.Reader, hash[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		return field + base64.StdEncoding.EncodeToString(signature) + "\r\n"
	}
	names := " i=" + tag["i"] + "; a=rsa-sha256; d=" + tag["d"] + "; s=" + tag["s"] + "; "
	fields := regexp.MustCompile(`(?m)^[!-9;-~]+[ \t]*:.*\r\n([ \t].*\r\n)*`).FindAllString(header, -1)

	covered, chain := "", ""
	rest := slices.Clone(fields)
	for name := range strings.SplitSeq(tag["h"], ":") {
		for i, f := range slices.Backward(rest) {
			if n, _, _ := strings.Cut(f, ":"); strings.EqualFold(n, name) {
				covered += canonicalField(f, "relaxed")
				rest = slices.Delete(rest, i, i+1)
				break
			}
		}
	}
	own := []string{"ARC-Authentication-Results: i=" + tag["i"] + "; " + results + "\r\n",
		sign(covered, "ARC-Message-Signature:"+names+"c=relaxed/relaxed; h="+tag["h"]+"; "+limit+"bh="+
			base64.StdEncoding.EncodeToString(bodyHash[:])+"; b=")}
	instance, _ := strconv.Atoi(tag["i"])
	for n := 1; n < instance; n++ {
		for _, name := range []string{"ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"} {
			for _, f := range fields {
				if strings.HasPrefix(f, name+": i="+strconv.Itoa(n)+";") {
					chain += canonicalField(f, "relaxed")
				}
			}
		}
	}
	for _, f := range own {
		chain += canonicalField(f, "relaxed")
	}
	when := "t=" + strconv.FormatInt(w.now.Add(-age).Unix(), 10) + "; "
	if tag["without"] == "t" {
		when = ""
	}
	return sign(chain, "ARC-Seal:"+names+when+"cv="+tag["cv"]+"; b=") + own[1] + own[0]
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

// isSealedByTrusted tells whether a chain that passes has trusted sealers alone down to one that saw DMARC
// pass for the author, by what stands there.
func (o *outcome) isSealedByTrusted(t *testing.T) bool {
	text := withoutResults(o.arrived)
	list, err := mail.ParseAddressList(strings.Join(values(text, "From"), ","))
	if err != nil || len(list) != 1 || registered(domainAfterAt(list[0].Address)) == "example.org" {
		return false
	}
	seals, results := values(text, "ARC-Seal"), values(text, "ARC-Authentication-Results")
	of := func(fields []string, n int) string {
		isOf := func(f string) bool { return strings.HasPrefix(f, "i="+strconv.Itoa(n)+";") }
		i := slices.IndexFunc(fields, isOf)
		if i < 0 {
			return ""
		}
		return fields[i]
	}
	for n := len(seals); n > 0; n-- {
		sealer := regexp.MustCompile(`\bd=([^;\s]+)`).FindStringSubmatch(of(seals, n))
		if sealer == nil || !slices.Contains(o.config.ARC.TrustedSealers, sealer[1]) {
			return false
		}
		pattern := regexp.MustCompile(`;\s*dmarc=pass\s+(?:\([^)]*\)\s+)?header\.from=([^;\s]+)`)
		saw := pattern.FindStringSubmatch(of(results, n))
		if saw != nil && saw[1] == domainAfterAt(list[0].Address) {
			return o.chainPasses(t, text)
		}
	}
	return false
}

func (o *outcome) chainPasses(t *testing.T, text string) bool {
	header, body, _ := strings.Cut(strings.ReplaceAll(text, "\n", "\r\n"), "\r\n\r\n")
	fields, _ := dkim.SplitHeader([]byte(header + "\r\n"))
	chain := arc.Read(withoutSeals(fields))
	verifier := dkim.NewVerifier(fields, dkim.VerifyOptions{Resolver: o.dns.Resolver()},
		chain.MessageSignatures()...)
	io.WriteString(verifier, body)
	verifier.Close()
	return chain.Verify(t.Context(), o.dns.Resolver()).Status == dkim.Pass
}
