package tests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postmend/tests/mta"
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

// restingHost has Debian's own files, with nothing but names and the given lines added, and does not run.
func restingHost(t *testing.T, program, main, master string) *plainHost {
	t.Helper()
	dir := mta.Folder(t)
	h := &plainHost{t: t, program: program, root: filepath.Join(dir, "root"),
		Instance: &mta.Instance{Dir: dir}}
	h.must(os.MkdirAll(h.root, 0o755))
	added := map[string]string{
		"main.cf": "\nmyhostname = mx.example.org\nmydestination = $myhostname, example.org, localhost\n" +
			"alias_maps =\nalias_database =\n" + main,
		"master.cf": master,
	}
	for to, from := range map[string]string{"main.cf": "main.cf.debian", "master.cf": "master.cf.dist"} {
		text, err := os.ReadFile(filepath.Join("/usr/share/postfix", from))
		h.must(err)
		h.must(os.WriteFile(filepath.Join(dir, to), append(text, added[to]...), 0o644))
	}
	return h
}

func TestSetupOfAPostfixThatDoesNotRun(t *testing.T) {
	t.Parallel()
	peer.NeedRoot(t)
	peer.Need(t, "postfix")
	program := filepath.Join(mta.Folder(t), "postmend")
	build(t, program)
	for name, test := range map[string]func(*testing.T, string){
		"the printed commands do what --apply does":                      printedCommandsDoWhatApplyDoes,
		"a configuration is kept, and what it lacks is made":             configurationIsKept,
		"tables that the account cannot read are told before any change": unreadableTablesAreTold,
		"a taken port is left alone":                                     takenPortIsLeftAlone,
		"a second instance has a configuration of its own":               instancesAreApart,
		"hosted domains in tables get keys, and later ones are told":     domainsInTablesGetKeys,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, program)
		})
	}
}

// Whatever the account cannot read would keep all mail in the queue.
func unreadableTablesAreTold(t *testing.T, program string) {
	h := restingHost(t, program, "virtual_mailbox_domains = texthash:/ROOT-ONLY\n", "")
	table := filepath.Join(h.Dir, "domains")
	h.must(os.WriteFile(table, []byte("mapped.example x\n"), 0o600))
	main := filepath.Join(h.Dir, "main.cf")
	text, err := os.ReadFile(main)
	h.must(err)
	h.must(os.WriteFile(main, bytes.Replace(text, []byte("/ROOT-ONLY"), []byte(table), 1), 0o644))
	before := h.configuration()
	out, err := exec.Command(h.program, "setup", "--apply", "--postfix-dir", h.Dir, "--root-dir", h.root,
		"--user", peer.Account).CombinedOutput()
	if err == nil || !strings.Contains(string(out), table) || !strings.Contains(string(out), "setfacl") {
		t.Errorf("%v:\n%s", err, out)
	}
	if h.configuration() != before {
		t.Errorf("Postfix was changed:\n%s", h.configuration())
	}
	h.must(os.Chmod(table, 0o644))
	h.setup("--apply")
	config, err := os.ReadFile(filepath.Join(h.root, "etc/postmend/postmend.toml"))
	h.must(err)
	if !strings.Contains(string(config), fmt.Sprintf("%q", "texthash:"+table)) {
		t.Errorf("the table is not in the configuration:\n%s", config)
	}
}

func takenPortIsLeftAlone(t *testing.T, program string) {
	h := restingHost(t, program, "mynetworks = 127.0.0.1 10.0.0.0/8, [2001:db8::]/32\n",
		"127.0.0.1:10026 inet n - n - - smtpd\n")
	h.setup("--apply")
	config, err := os.ReadFile(filepath.Join(h.root, "etc/postmend/postmend.toml"))
	h.must(err)
	want := "trusted_networks = [\n  \"127.0.0.0/8\",\n  \"::1/128\",\n  \"10.0.0.0/8\",\n  " +
		"\"2001:db8::/32\",\n]"
	if !strings.Contains(string(config), want) {
		t.Errorf("not in it: %s\n%s", want, config)
	}
	got := h.configuration()
	if !regexp.MustCompile(`(?m)^127\.0\.0\.1:10026 inet.* smtpd$`).MatchString(got) ||
		strings.Count(got, "syslog_name=postfix/reinject") != 1 {
		t.Error(got)
	}
}
