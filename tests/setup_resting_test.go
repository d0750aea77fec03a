package tests

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postmend/tests/peer"
)

// runAs runs postmend for this host on a machine whose own Postfix is in a folder.
func (h *plainHost) runAs(own string, args ...string) (string, error) {
	h.t.Helper()
	for _, dir := range []string{own, h.Dir} {
		peer.Age(h.t, dir)
	}
	cmd := exec.Command(h.program, args...)
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+own)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Two masters can listen at one port, and then mail of one instance comes back to the other.
func instancesAreApart(t *testing.T, program string) {
	first, second := restingHost(t, program, "", ""), restingHost(t, program, "", "")
	first.setup("--apply")
	untouched := second.configuration()
	apply := []string{"setup", "--apply", "--postfix-dir", second.Dir, "--root-dir", first.root, "--user",
		peer.Account}
	if out, err := second.runAs(first.Dir, apply...); err == nil || !strings.Contains(out, first.Dir) ||
		!strings.Contains(out, "-c ") || second.configuration() != untouched {
		t.Errorf("the listener of the first instance is taken: %v\n%s", err, out)
	}

	listener := regexp.MustCompile(`127\.0\.0\.1:100\d\d `)
	address := strings.TrimSpace(listener.FindString(first.configuration()))
	mine := filepath.Join(first.root, "etc/postmend/postmend.toml")
	out, err := second.runAs(first.Dir, "check", "--no-dns", "--json", "--postfix-dir",
		second.Dir, "-c", mine)
	if !strings.Contains(out, `"instances"`) || !strings.Contains(out, first.Dir) ||
		strings.Contains(out, "postconf") {
		t.Errorf("check does not notice: %v\n%s", err, out)
	}

	if out, err := second.runAs(first.Dir, append(apply, "-c", "/etc/postmend/second.toml")...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := listener.FindString(second.configuration()); got == "" || strings.TrimSpace(got) == address {
		t.Errorf("the listeners are at %s and %s", address, got)
	}
}

func domainsInTablesGetKeys(t *testing.T, program string) {
	h := restingHost(t, program, "virtual_alias_maps = texthash:/TABLE\n", "")
	table := filepath.Join(h.Dir, "virtual")
	h.must(os.WriteFile(table, []byte("hosted.example.net anything\n"+
		"info@hosted.example.net bob@example.com\n"), 0o644))
	main := filepath.Join(h.Dir, "main.cf")
	text, err := os.ReadFile(main)
	h.must(err)
	h.must(os.WriteFile(main, bytes.Replace(text, []byte("/TABLE"), []byte(table), 1), 0o644))

	if out := h.setup("--apply"); !strings.Contains(out, "._domainkey.hosted.example.net. IN TXT") {
		t.Errorf("no key for a domain in a table:\n%s", out)
	}
	h.must(os.WriteFile(table, []byte("hosted.example.net anything\nnew.example.com anything\n"), 0o644))
	if out := h.setup("--apply"); !strings.Contains(out, "Nothing to do") ||
		!strings.Contains(out, "Note: new.example.com has no DKIM key") {
		t.Errorf("a new domain is not told:\n%s", out)
	}
}
