package filter

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postmend/dkim"
)

// RFC 8617 knows only RSA. The key of ARC is one of DKIM's.
func TestTheKeyThatSeals(t *testing.T) {
	dir := t.TempDir()
	for name, algorithm := range map[string]string{"rsa.pem": "rsa2048", "ed.pem": "ed25519"} {
		text, err := dkim.GenerateKey(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const keys = "[[dkim.keys]]\ndomain = \"%d\"\nselector = \"%s\"\nfile = \"%f\"\n"
	key := func(domain, selector, file string) string {
		return strings.NewReplacer("%d", domain, "%s", selector, "%f", file).Replace(keys)
	}
	all := key("example.org", "ed", "ed.pem") + key("example.org", "one", "rsa.pem") +
		key("example.org", "two", "rsa.pem") + key("other.example", "x", "rsa.pem")
	for _, c := range []struct{ name, config, want, trouble string }{
		{"the default domain's first RSA key", all, "one._domainkey.example.org", ""},
		{"another domain's", "[arc]\ndomain = \"other.example\"\n" + all, "x._domainkey.other.example", ""},
		{"the one that is named", "[arc]\nselector = \"two\"\n" + all, "two._domainkey.example.org", ""},
		{"none, if there is only ed25519", key("example.org", "ed", "ed.pem"), "", ""},
		{"an ed25519 key that is named", "[arc]\nselector = \"ed\"\n" + all, "", "RFC 8617 knows only RSA"},
		{"one that is not there", key("example.org", "gone", "gone.pem"), "", "gone.pem"},
	} {
		sealing := filterFrom(t, filepath.Join(dir, "postmend.toml"), c.config).sealingKey()
		got, trouble := "", ""
		if sealing.Key != nil {
			got = sealing.Key.RecordName()
		}
		if sealing.Err != nil {
			trouble = sealing.Err.Error()
		}
		if got != c.want || !strings.Contains(trouble, c.trouble) || (trouble == "") != (c.trouble == "") {
			t.Errorf("%s: %q, %s", c.name, got, trouble)
		}
	}
}
