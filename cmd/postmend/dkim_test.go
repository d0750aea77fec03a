package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"postmend/filter/authn/dnsserver"
	"postmend/postfix/wholefile"
	"postmend/tests/judge"
)

func TestAKeyIsMadePublishedAndUsed(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "new.pem")
	genkey := []string{"dkim", "genkey", "--domain", "new.example", "--selector", "n", "--file", file}
	exit, record, errs := w.run("", genkey...)
	if exit != 0 || !strings.HasPrefix(record, "n._domainkey.new.example. IN TXT \"v=DKIM1; k=rsa; p=") {
		t.Fatalf("exit %d, %q %q", exit, record, errs)
	}
	for _, part := range regexp.MustCompile(`"[^"]*"`).FindAllString(record, -1) {
		if len(part) > 257 {
			t.Errorf("a string of %d octets", len(part)-2)
		}
	}
	if exit, _, errs := w.run("", genkey...); exit != 78 || !strings.Contains(errs, "exists") {
		t.Errorf("a key was replaced: exit %d, %q", exit, errs)
	}
	_, again, _ := w.run("", "dkim", "record", "--domain", "new.example", "--selector", "n", "--file", file)
	if again != record {
		t.Errorf("record prints %q, genkey %q", again, record)
	}
	if exit, out, _ := w.run("", "dkim", "record"); exit != 0 ||
		!strings.HasPrefix(out, "s._domainkey.example.org. IN TXT \"v=DKIM1; k=ed25519; p=") {
		t.Errorf("record of the configured keys: exit %d, %q", exit, out)
	}
	exit, out, _ := w.run(aMessage, "dkim", "sign")
	if exit != 0 || !strings.HasPrefix(out, "DKIM-Signature: ") || !strings.HasSuffix(out, aMessage) {
		t.Errorf("sign: exit %d\n%s", exit, out)
	}
}

func TestAKeyThatCannotBeWrittenLeavesNothingBehind(t *testing.T) {
	const limited = "POSTMEND_TEST_KEY" // set in a process of its own, whose files must not grow
	if path := os.Getenv(limited); path != "" {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 100, Max: 100}); err != nil {
			t.Fatal(err)
		}
		if err := wholefile.Create(path, make([]byte, 200)); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("%v", err)
		}
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), limited+"="+filepath.Join(dir, "new.pem"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestDKIMVerifyTellsOfEachSignature(t *testing.T) {
	w := newWorld(t)
	_, record, _ := w.run("", "dkim", "record")
	name, text, _ := strings.Cut(record, " IN TXT ")
	zone := name + " TXT " + strings.Trim(strings.TrimSpace(text), `"`) +
		"\nslow._domainkey.example.org SERVFAIL\n"
	dns, err := dnsserver.Start(zone)
	w.check(err)
	t.Cleanup(func() { dns.Close() })
	_, signed, _ := w.run(aMessage, "dkim", "sign")
	slow := strings.Replace(signed, "s=s;", "s=slow;", 1)
	missing := strings.Replace(signed, "s=s;", "s=missing;", 1)
	second, _, _ := strings.Cut(missing, "From: ")
	for _, c := range []struct {
		name, message string
		exit          int
		want          string
	}{
		{"good", signed, 0, "pass d=example.org s=s a=ed25519-sha256\n"},
		{"changed", signed + "more\n", 1,
			"fail d=example.org s=s a=ed25519-sha256 (body hash did not verify)\n"},
		{"without a key record", missing, 1,
			"permerror d=example.org s=missing a=ed25519-sha256 (no key record)\n"},
		{"DNS trouble", slow, 75, "temperror d=example.org s=slow a=ed25519-sha256 (key look-up failed)\n"},
		{"one of two", second + signed, 0, "permerror d=example.org s=missing a=ed25519-sha256 (no key " +
			"record)\npass d=example.org s=s a=ed25519-sha256\n"},
		{"CRLF", strings.ReplaceAll(signed, "\n", "\r\n"), 0, "pass d=example.org s=s a=ed25519-sha256\n"},
		{"unsigned", aMessage, 1, "none (the message has no signature)\n"},
		{"empty", "", 1, "none (the message has no signature)\n"},
	} {
		exit, out, errs := w.run(c.message, "dkim", "verify", "--resolver", dns.Addr())
		if exit != c.exit || out != c.want {
			t.Errorf("%s: exit %d, %q %q; want %d, %q", c.name, exit, out, errs, c.exit, c.want)
		}
	}
	if exit, _, errs := w.run(strings.Repeat("A: b\n", 1<<18), "dkim", "verify", "--resolver",
		dns.Addr()); exit != 65 || !strings.Contains(errs, "1 MiB") {
		t.Errorf("an endless header: exit %d, %q", exit, errs)
	}
	verdicts := judge.New(t,
		map[string]string{"s._domainkey.example.org": strings.Trim(strings.TrimSpace(text), `"`)},
		[][]byte{[]byte(strings.ReplaceAll(signed, "\n", "\r\n")),
			[]byte(strings.ReplaceAll(signed+"more\n", "\n", "\r\n"))}).DKIMPy()
	if fmt.Sprint(verdicts) != "[[pass] [fail]]" {
		t.Errorf("dkimpy says %v", verdicts)
	}
	configured := newWorld(t, `hostname =`, "resolver = \""+dns.Addr()+"\"\nhostname =")
	if exit, out, _ := configured.run(signed, "dkim", "verify"); exit != 0 {
		t.Errorf("with the configuration's resolver: exit %d, %q", exit, out)
	}
}
