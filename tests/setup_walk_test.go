package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postmend/filter/authn/dnsserver"
	"postmend/postfix/check"
	"postmend/tests/mta"
	"postmend/tests/peer"
)

// resting is a host that setup was not run on, whose Postfix does not run.
func resting(t *testing.T, main string) *plainHost {
	t.Helper()
	peer.NeedRoot(t)
	peer.Need(t, "postfix")
	program := filepath.Join(mta.Folder(t), "postmend")
	build(t, program)
	return restingHost(t, program, main, "")
}

func (h *plainHost) checked() *checkedHost {
	return &checkedHost{t: h.t, dir: h.Dir, program: h.program,
		config: filepath.Join(h.root, "etc/postmend/postmend.toml"), zone: rightZone}
}

// setup --apply without --mode is what check prints.
func TestTheModeOfPrepareIsThatOfCheckAndOfApply(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"transport", "content-filter"} {
		h := resting(t, "")
		mailname := filepath.Join(h.Dir, "mailname") // as Debian has it
		h.must(os.WriteFile(mailname, []byte("example.org\n"), 0o644))
		h.must(exec.Command("postconf", "-c", h.Dir, "-e", "myorigin="+mailname).Run())
		prepared := h.setup("--prepare", "--mode", mode)
		// for bounces, which nobody signs in content-filter mode
		const record = `mx.example.org. IN TXT "v=spf1 a -all"`
		if strings.Contains(prepared, record) != (mode == "content-filter") {
			t.Errorf("%s: records\n%s", mode, prepared)
		}
		c := h.checked()
		c.ownSpool()
		c.zone = strings.ReplaceAll(c.zone, "mx.example.org TXT v=spf1 a -all\n", "")
		c.publish()
		asksForRecord := func(f check.Finding) bool {
			return f.Name == "dns-spf-hostname" && f.Severity != check.OK
		}
		if found := c.findings(); slices.ContainsFunc(found, asksForRecord) != (mode == "content-filter") {
			t.Errorf("%s: %+v", mode, found)
		}
		h.setup("--apply")
		want := map[string]string{"transport": "default_transport = postmend:",
			"content-filter": "content_filter = postmend:dummy"}[mode]
		if !strings.Contains(h.configuration(), want) {
			t.Errorf("no %s", want)
		}
		h.setup("--undo")
		if left, _ := filepath.Glob(filepath.Join(h.root, "etc/postmend/*.mode")); left != nil {
			t.Errorf("left after --undo: %q", left)
		}
	}
}

// Before --apply the mode can still be chosen.
func TestCheckWarnsOfForwardsBeforeApply(t *testing.T) {
	t.Parallel()
	h := resting(t, "")
	aliases := filepath.Join(h.Dir, "aliases")
	h.must(os.WriteFile(aliases, []byte("team remote@example.com\n"), 0o644))
	h.must(exec.Command("postconf", "-c", h.Dir, "-e", "alias_maps=texthash:"+aliases).Run())
	h.setup("--prepare", "--mode", "content-filter")
	c := h.checked()
	c.ownSpool()
	wrong := c.check("--no-dns")
	if len(wrong) != 1 || wrong[0].Name != "alias-forwards" ||
		!strings.Contains(wrong[0].What, "the alias team to remote@example.com") {
		t.Fatalf("%+v", wrong)
	}
	h.must(exec.Command("sh", "-c",
		strings.Replace(wrong[0].Mend, " setup ", " setup --no-dns --root-dir "+h.root+" ", 1)+
			" -c /etc/postmend/postmend.toml").Run())
	if wrong := c.check("--no-dns"); wrong != nil {
		t.Errorf("after what check said: %+v", wrong)
	}
}

// The rename of postconf(1) puts a file in the place of a link.
func TestMainCfStaysALink(t *testing.T) {
	t.Parallel()
	h := resting(t, "")
	behind := filepath.Join(h.Dir, "behind")
	h.must(os.Mkdir(behind, 0o755))
	for _, name := range []string{"main.cf", "master.cf"} {
		h.must(os.Rename(filepath.Join(h.Dir, name), filepath.Join(behind, name)))
		h.must(os.Symlink("behind/"+name, filepath.Join(h.Dir, name)))
	}
	before := h.bytes()
	areLinks := func(when string) {
		for _, name := range []string{"main.cf", "master.cf"} {
			if target, err := os.Readlink(filepath.Join(h.Dir, name)); target != "behind/"+name {
				t.Errorf("%s: %s leads to %q: %v", when, name, target, err)
			}
		}
	}
	h.setup("--apply")
	areLinks("--apply")
	text, _ := os.ReadFile(filepath.Join(behind, "main.cf"))
	if !strings.Contains(string(text), "postmend:") {
		t.Errorf("the file behind the link is as it was")
	}
	said := h.setup("--undo")
	areLinks("--undo")
	if h.bytes() != before {
		t.Errorf("after --undo:\n%s", h.bytes())
	}
	for _, want := range []string{"etc/postmend/postmend.toml", "etc/postmend/srs.secrets",
		"etc/postmend/dkim (1)", peer.Account} {
		if !strings.Contains(said, want) {
			t.Errorf("--undo keeps %s, and does not say so:\n%s", want, said)
		}
	}
}

// Check itself proposes another port where one is taken.
func TestUndoFindsAListenerThatWasMoved(t *testing.T) {
	t.Parallel()
	h := resting(t, "")
	before := h.configuration()
	h.setup("--apply")
	listener := regexp.MustCompile(`127\.0\.0\.1:100\d\d`).FindString(h.configuration())
	port := peer.FreePort(t)
	h.must(exec.Command("postconf", "-c", h.Dir, "-F", listener+"/inet/service=127.0.0.1:"+port).Run())
	config := filepath.Join(h.root, "etc/postmend/postmend.toml")
	text, err := os.ReadFile(config)
	h.must(err)
	h.must(os.WriteFile(config, []byte(strings.Replace(string(text), listener, "127.0.0.1:"+port, 1)), 0o644))
	if said := h.setup("--apply"); !strings.Contains(said, "Nothing to do") {
		t.Errorf("moved in both files:\n%s", said)
	}
	h.must(os.WriteFile(config, text, 0o644))
	h.setup("--apply")
	if found := strings.Count(h.configuration(), "\n    -o syslog_name=postfix/reinject"); found > 1 {
		t.Errorf("%d listeners", found)
	}
	h.must(exec.Command("postconf", "-c", h.Dir, "-F", listener+"/inet/service=127.0.0.1:"+port).Run())
	h.setup("--undo")
	if after := h.configuration(); after != before {
		t.Errorf("after --undo:\n%s\nbefore --apply:\n%s", after, before)
	}
}

// A name that other hosts cannot look up is no name to greet them with.
func TestSetupGivesPostfixAFullName(t *testing.T) {
	systemName := pretendHostname(t, "debian")
	h := resting(t, "myhostname = debian\n")
	c := h.checked()
	if wrong := c.missing(); !strings.Contains(wrong.What, "--hostname") || wrong.Mend != "" {
		t.Errorf("check offers what setup refuses: %+v", wrong)
	}
	said := h.setupFails("--prepare")
	if !strings.Contains(said, "--hostname mx.example.org") ||
		!strings.Contains(said, "Nothing has been changed") {
		t.Errorf("%s", said)
	}
	systemName("mx.example.org")
	if wrong := c.missing(); !strings.Contains(wrong.Mend, "setup --prepare") {
		t.Errorf("the system knows the name, and check has no command: %+v", wrong)
	}
	h.setup("--prepare")
	systemName("debian")
	c.ownSpool()
	if wrong := c.check("--no-dns"); wrong != nil {
		t.Errorf("prepared: %+v", wrong)
	}
	h.setup("--apply")
	if got := h.configuration(); !strings.Contains(got, "myhostname = mx.example.org") {
		t.Errorf("%s", got)
	}
	if wrong := c.check("--no-dns"); wrong != nil {
		t.Errorf("set up: %+v", wrong)
	}
	h.must(exec.Command("postconf", "-c", h.Dir, "-e", "myhostname=debian").Run())
	for range 2 {
		c.mendAll(slices.DeleteFunc(c.check("--no-dns"), func(f check.Finding) bool {
			return f.Name != "hostname"
		}))
	}
	if wrong := c.check("--no-dns"); wrong != nil {
		t.Errorf("after what check said: %+v", wrong)
	}
}

// pretendHostname takes the place of hostname(1).
func pretendHostname(t *testing.T, name string) (set func(name string)) {
	t.Helper()
	folder := t.TempDir()
	set = func(name string) {
		err := os.WriteFile(filepath.Join(folder, "hostname"), []byte("#!/bin/sh\necho "+name+"\n"), 0o755)
		if err != nil {
			t.Fatal(err)
		}
	}
	set(name)
	t.Setenv("PATH", folder+":"+os.Getenv("PATH"))
	return set
}

// missing is what check finds where there is no configuration.
func (h *checkedHost) missing() check.Finding {
	h.t.Helper()
	for _, f := range h.parsed(exec.Command(h.program, "check", "--json", "--no-dns", "--postfix-dir", h.dir,
		"-c", h.config)) {
		if f.Name == "config" {
			return f
		}
	}
	h.t.Fatal("a missing configuration is not found")
	return check.Finding{}
}

// The files of databases are closed to others, because they have a password. All of them are named at once,
// with the command and with the other way.
func TestAllTablesThatTheAccountCannotReadAreTold(t *testing.T) {
	t.Parallel()
	h := resting(t, "")
	var tables []string
	for _, name := range []string{"one", "two"} {
		table := filepath.Join(h.Dir, name)
		h.must(os.WriteFile(table, []byte(name+".example x\n"), 0o600))
		tables = append(tables, table)
	}
	h.must(exec.Command("postconf", "-c", h.Dir, "-e",
		"virtual_mailbox_domains=texthash:"+strings.Join(tables, " texthash:")).Run())
	said := h.setupFails("--prepare")
	want := "setfacl -m u:" + peer.Account + ":r " + strings.Join(tables, " ") + " "
	if !strings.Contains(said, want) || !strings.Contains(said, "local_domains_file") {
		t.Errorf("want %s in\n%s", want, said)
	}
}

// A table whose type is not there would keep all mail waiting.
func TestSetupRefusesATableThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	h := resting(t, "virtual_mailbox_domains = nosuch:/etc/postfix/domains.cf\n")
	before := h.bytes()
	said := h.setupFails("--apply")
	for _, want := range []string{"nosuch:/etc/postfix/domains.cf", "unsupported dictionary type",
		"Nothing has been changed"} {
		if !strings.Contains(said, want) {
			t.Errorf("not told: %s\n%s", want, said)
		}
	}
	if strings.Contains(said, "setfacl") || h.bytes() != before {
		t.Errorf("%s", said)
	}
}

// Many domains with one cause behind their faults are one finding, and what is published is not printed
// again.
func TestManyDomainsAreToldInFewWords(t *testing.T) {
	t.Parallel()
	const domains = 25
	var names []string
	for i := range domains {
		names = append(names, fmt.Sprintf("d%02d.example.net", i), fmt.Sprintf("example%02d.org", i))
	}
	h := resting(t, "virtual_mailbox_domains = "+strings.Join(names[1:], " ")+
		"\nvirtual_mailbox_maps = static:x\n")
	prepared := h.setup("--prepare")
	config := filepath.Join(h.root, "etc/postmend/postmend.toml")
	dns, err := dnsserver.Start("")
	h.must(err)
	t.Cleanup(func() { dns.Close() })
	text, err := os.ReadFile(config)
	h.must(err)
	h.must(os.WriteFile(config, append([]byte(fmt.Sprintf("resolver = %q\n", dns.Addr())), text...), 0o644))
	c := h.checked()
	c.ownSpool()

	recordsStandTogether(t, prepared)
	const aFew = 12
	summary, _, _ := strings.Cut(prepared, "; DNS records")
	if named := strings.Count(summary, "example"); named > aFew || strings.Count(summary, "\n") > aFew {
		t.Errorf("the summary is long:\n%s", summary)
	}
	if strings.Count(prepared, "p=none is optional") != 1 {
		t.Errorf("not told once that a policy is optional:\n%s", prepared)
	}
	if strings.Contains(prepared, "rua=mailto:postmaster@") {
		t.Errorf("an address that may not exist:\n%s", prepared)
	}
	count := map[string]int{}
	for _, f := range c.check() {
		count[f.Name]++
	}
	for _, name := range []string{"dns-dkim", "dns-dmarc"} {
		if count[name] != 1 {
			t.Errorf("%s: %d findings", name, count[name])
		}
	}

	h.must(exec.Command("sh", "-c", "rm "+filepath.Join(h.root, "etc/postmend/dkim/*.pem")).Run())
	wrong := c.check("--no-dns")
	if len(wrong) != 1 || wrong[0].Name != "dkim-keys" || !strings.Contains(wrong[0].What, "the same for") {
		t.Fatalf("the keys are gone: %+v", wrong)
	}
	c.mendAll(wrong)
	if wrong := c.check("--no-dns"); wrong != nil {
		t.Errorf("after what check said: %+v", wrong)
	}
	c.zone = ""
	dns.Close()
	c.publish()
	for _, f := range c.check() {
		for record := range strings.SplitSeq(f.Publish, "\n") {
			if record != "" {
				c.zone += c.zoneLine(record)
			}
		}
	}
	c.publish()
	said, err := exec.Command(h.program, "setup", "--prepare", "--postfix-dir", h.Dir, "--root-dir", h.root,
		"--user", peer.Account).CombinedOutput()
	if err != nil || strings.Count(string(said), " IN ") > 3 ||
		!strings.Contains(string(said), "found in DNS") && !strings.Contains(string(said), "are published") {
		t.Errorf("published: %v\n%s", err, said)
	}
}

// recordsStandTogether finds records of one domain that are apart.
func recordsStandTogether(t *testing.T, prepared string) {
	t.Helper()
	last := map[string]int{}
	for i, line := range strings.Split(prepared, "\n") {
		if name, _, found := strings.Cut(line, ". IN TXT "); found && strings.Contains(name, "example") {
			domain := name[strings.LastIndexByte(name[:strings.LastIndexByte(name, '.')], '.')+1:]
			before, seen := last[domain]
			if seen && domain != "example.org" && domain != "example.net" && i > before+2 {
				t.Errorf("%s: lines %d and %d", domain, before, i)
			}
			last[domain] = i
		}
	}
}

// Postfix's servers inherit the socket of master(8), and some have lower numbers than it.
func TestAListenerOfARunningPostfixIsNotTaken(t *testing.T) {
	h := startPlainHost(t, "")
	h.setup("--apply", "--mode", "content-filter")
	h.tell()
	h.forwards("info@example.org")
	for _, f := range h.checked().findings("--no-dns") {
		if f.Name == "listener-port" && f.Severity != check.OK {
			t.Errorf("%+v", f)
		}
	}
}
