package dkim

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func generated(t *testing.T, algorithm string) *Key {
	t.Helper()
	pem, err := GenerateKey(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(path, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := LoadKey("example.org", "sel", path)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A record is judged by the key that it holds, not by its text.
func TestAPublishedKeyIsComparedAsAKey(t *testing.T) {
	for _, algorithm := range []string{"rsa2048", "ed25519"} {
		key := generated(t, algorithm)
		record, err := key.Record()
		if err != nil {
			t.Fatal(err)
		}
		_, p, _ := strings.Cut(record, "p=")
		bare := strings.Replace(record, "v=DKIM1; ", "", 1)
		other, _ := generated(t, algorithm).Record()
		for _, row := range []struct {
			records []string
			good    bool
			testing bool
		}{
			{[]string{record}, true, false},
			{[]string{bare}, true, false},
			{[]string{strings.Replace(record, "p="+p, "n=a note; p="+p[:20]+" "+p[20:], 1)}, true, false},
			{[]string{"v=spf1 -all", record}, true, false},
			{[]string{record + "; t=y"}, true, true},
			{[]string{record + "; s=email; h=sha256; t=s"}, true, false},
			{nil, false, false},
			{[]string{other}, false, false},
			{[]string{record, other}, false, false},
			{[]string{record + "; h=sha1"}, false, false},
			{[]string{record + "; s=tlsrpt"}, false, false},
			{[]string{"v=DKIM1; p="}, false, false},
			{[]string{"v=DKIM1; k=rsa; p=" + p[:40]}, false, false},
		} {
			testing, err := key.Published(row.records)
			if (err == nil) != row.good || testing != row.testing {
				t.Errorf("%s, %q: testing %t, %v", algorithm, row.records, testing, err)
			}
		}
	}
}

// Erratum 3017 of RFC 6376: the key without the wrapper that names its type is in use, too.
func TestAPublishedKeyMayBeWrittenInPKCS1(t *testing.T) {
	key := generated(t, "rsa2048")
	record := "v=DKIM1; p=" +
		base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(key.private.Public().(*rsa.PublicKey)))
	if _, err := key.Published([]string{record}); err != nil {
		t.Error(err)
	}
}
