package dkim

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"postmend/tests/peer"
)

// keyFile writes a key as it should be kept and gives its path.
func keyFile(t testing.TB, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newKey makes a key of example.org.
func newKey(t testing.TB, algorithm, selector string) *Key {
	t.Helper()
	text, err := GenerateKey(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	key, err := LoadKey("example.org", selector, keyFile(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func openssl(t testing.TB, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(peer.Need(t, "openssl"), args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, &complaint)
	}
	return out
}

// RFC 8463 appendix A.2.
func TestTheEd25519KeyOfRFC8463IsPublishedAsThere(t *testing.T) {
	seed, _ := base64.StdEncoding.DecodeString("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
	// RFC 8410 section 7
	der := append([]byte("\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"), seed...)
	key, err := LoadKey("football.example.com", "brisbane",
		keyFile(t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	if err != nil {
		t.Fatal(err)
	}
	record, err := key.Record()
	if want := "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="; err != nil ||
		record != want {
		t.Errorf("%s, %v, want %s", record, err, want)
	}
	if want := "brisbane._domainkey.football.example.com"; key.RecordName() != want {
		t.Errorf("%s, want %s", key.RecordName(), want)
	}
}

func TestKeysMadeByOpenSSLAreReadAndPublishedAsOpenSSLDoes(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	openssl(t, "genrsa", "-out", path("pkcs8"), "2048")
	openssl(t, "rsa", "-traditional", "-in", path("pkcs8"), "-out", path("pkcs1"))
	openssl(t, "genrsa", "-out", path("1024"), "1024")
	openssl(t, "genpkey", "-algorithm", "ed25519", "-out", path("ed25519"))
	// ed25519: 32 octets after the algorithm
	for name, prefix := range map[string]int{"pkcs8": 0, "pkcs1": 0, "1024": 0, "ed25519": 12} {
		os.Chmod(path(name), 0o600)
		key, err := LoadKey("example.org", "s", path(name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		record, err := key.Record()
		if err != nil {
			t.Fatal(err)
		}
		public := openssl(t, "pkey", "-in", path(name), "-pubout", "-outform", "DER")[prefix:]
		if want := "p=" + base64.StdEncoding.EncodeToString(public); !strings.HasSuffix(record, "; "+want) {
			t.Errorf("%s: %s, want %s", name, record, want)
		}
	}
}

func TestAGeneratedKeyIsAcceptedByOpenSSL(t *testing.T) {
	for _, algorithm := range []string{"", "rsa2048", "rsa4096", "ed25519"} {
		text, err := GenerateKey(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		path := keyFile(t, text)
		openssl(t, "pkey", "-in", path, "-check", "-noout")
		if _, err := LoadKey("example.org", "s", path); err != nil {
			t.Errorf("%q: %v", algorithm, err)
		}
	}
	if _, err := GenerateKey("rsa1024"); err == nil {
		t.Error("rsa1024: made")
	}
}

func TestTheZoneLineHasStringsThatFit(t *testing.T) {
	key := newKey(t, "rsa4096", "2026a")
	line, err := key.ZoneRecord()
	if err != nil {
		t.Fatal(err)
	}
	texts, found := strings.CutPrefix(line, "2026a._domainkey.example.org. IN TXT ")
	if !found {
		t.Fatal(line)
	}
	joined := ""
	for _, text := range regexp.MustCompile(`"([^"]*)"`).FindAllStringSubmatch(texts, -1) {
		if len(text[1]) > 255 { // RFC 1035 section 3.3
			t.Errorf("a string of %d octets", len(text[1]))
		}
		joined += text[1]
	}
	if record, _ := key.Record(); joined != record {
		t.Errorf("%s, want %s", joined, record)
	}
}

func TestAKeyThatOthersMayReadOrReplaceIsRefused(t *testing.T) {
	text, err := GenerateKey("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file, folder fs.FileMode
		mend         string // in the error; "" if the key is to be accepted
	}{
		{0o600, 0o755, ""}, {0o640, 0o755, ""}, {0o400, 0o700, ""}, {0o440, 0o775, ""},
		{0o644, 0o755, "chmod g-w,o= "}, {0o604, 0o755, "chmod g-w,o= "}, {0o602, 0o755, "chmod g-w,o= "},
		{0o601, 0o755, "chmod g-w,o= "}, {0o620, 0o755, "chmod g-w,o= "}, {0o660, 0o755, "chmod g-w,o= "},
		{0o600, 0o777, "chmod o-w "}, {0o600, 0o777 | fs.ModeSticky, "chmod o-w "},
		{0o600, 0o703, "chmod o-w "},
	} {
		path := keyFile(t, text)
		if err := errors.Join(os.Chmod(path, c.file), os.Chmod(filepath.Dir(path), c.folder)); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKey("example.org", "s", path)
		switch {
		case c.mend == "" && err != nil:
			t.Errorf("file %v in folder %v: %v", c.file, c.folder, err)
		case c.mend != "" &&
			(err == nil || !strings.Contains(err.Error(), c.mend) || !strings.Contains(err.Error(), path)):
			t.Errorf("file %v in folder %v: %v, want a hint to %q", c.file, c.folder, err, c.mend)
		}
	}
}

func TestAKeyBehindALinkIsJudgedWhereItIs(t *testing.T) {
	text, err := GenerateKey("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	path, link := keyFile(t, text), filepath.Join(t.TempDir(), "link.pem")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey("example.org", "s", link); err != nil {
		t.Errorf("well kept: %v", err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey("example.org", "s", link); err == nil {
		t.Error("a link into a folder that others may write to was accepted")
	}
}

func TestWhatIsNoUsableKeyIsRefusedWithTheReason(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	openssl(t, "genrsa", "-out", path("rsa"), "2048")
	openssl(t, "pkey", "-in", path("rsa"), "-aes128", "-passout", "pass:x", "-out", path("encrypted"))
	openssl(t, "rsa", "-in", path("rsa"), "-traditional", "-aes128", "-passout", "pass:x", "-out",
		path("encrypted1"))
	openssl(t, "pkey", "-in", path("rsa"), "-pubout", "-out", path("public"))
	openssl(t, "req", "-x509", "-new", "-key", path("rsa"), "-subj", "/CN=x", "-out", path("certificate"))
	openssl(t, "genpkey", "-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path("ec"))
	openssl(t, "ec", "-in", path("ec"), "-out", path("ec1"))
	t.Setenv("GODEBUG", "rsa1024min=0")
	weak, err := rsa.GenerateKey(rand.Reader, 1023)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GODEBUG", "")
	write := func(name string, text []byte) {
		if err := os.WriteFile(path(name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("weak", pem.EncodeToMemory(
		&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(weak)}))
	write("damaged", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}))
	write("empty", nil)
	write("large", make([]byte, 64<<10+1))
	if err := errors.Join(os.Mkdir(path("folder"), 0o700), syscall.Mkfifo(path("pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, reason := range map[string]string{
		"encrypted": "openssl pkey -in", "encrypted1": "openssl pkey -in", "public": "not a private key",
		"certificate": "not a private key", "ec": "only RSA and ed25519", "ec1": "only RSA and ed25519",
		"weak":    "1023 bits",
		"damaged": "damaged", "empty": "genkey", "large": "too large", "folder": "not a regular file",
		"pipe": "not a regular file",
	} {
		if name != "pipe" && name != "folder" {
			os.Chmod(path(name), 0o600)
		}
		_, err := LoadKey("example.org", "s", path(name))
		if err == nil || !strings.Contains(err.Error(), reason) ||
			!strings.Contains(err.Error(), path(name)) {
			t.Errorf("%s: %v, want %q", name, err, reason)
		}
	}
	if _, err := LoadKey("example.org", "s", path("missing")); !errors.Is(err, fs.ErrNotExist) ||
		!strings.Contains(err.Error(), path("missing")) {
		t.Errorf("missing: %v", err)
	}
}

func TestTheNamesOfAKeyAreDomainNames(t *testing.T) {
	text, err := GenerateKey("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	path := keyFile(t, text)
	for _, good := range [][2]string{{"example.org", "a"}, {"EXAMPLE.org", "2026._a-b"},
		{"xn--bcher-kva.example", "s1.eu"}} {
		if _, err := LoadKey(good[0], good[1], path); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", ".", "$myhostname", "example org", "example.org.", ".example.org", "a..b", "b\u00fccher.example",
		"a;b", "a\r\nb", "a\x00b", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "aa",
	} {
		if _, err := LoadKey(bad, "s", path); err == nil || strings.ContainsAny(err.Error(), "\r\n\x00") {
			t.Errorf("domain %q: %v", bad, err)
		}
		if _, err := LoadKey("example.org", bad, path); err == nil ||
			strings.ContainsAny(err.Error(), "\r\n\x00") {
			t.Errorf("selector %q: %v", bad, err)
		}
	}
	long := strings.Repeat("a234567890.", 11) + "example"
	if _, err := LoadKey(long, long, path); err == nil {
		t.Error("a name of more than 253 octets was accepted for the record")
	}
}

func TestAKeyIsNeverPrinted(t *testing.T) {
	for _, algorithm := range []string{"rsa2048", "ed25519"} {
		key := newKey(t, algorithm, "2026a")
		const name = "2026a._domainkey.example.org"
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			for _, value := range []any{key, *key} {
				if got := fmt.Sprintf(verb, value); got != name {
					t.Errorf("%s of %T: %s", verb, value, got)
				}
			}
		}
		if text, err := json.Marshal(key); err != nil || len(text) > 60 {
			t.Errorf("%s, %v", text, err)
		}
		if got := fmt.Sprintf("%v %+v", []*Key{key}, struct{ K Key }{*key}); strings.Count(got, name) != 2 {
			t.Error(got)
		}
	}
}
