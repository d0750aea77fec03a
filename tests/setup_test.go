package tests

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"postmend/filter/authn/dnsserver"
	"postmend/tests/mta"
	"postmend/tests/peer"
)

// plainHost is a Postfix without any filter: at home in example.org, with forwards by virtual aliases,
// alias(5) and .forward. All that leaves goes to the sink.
type plainHost struct {
	*mta.Instance
	t       *testing.T
	program string
	root    string // stands for / where setup writes
	smtp    string
	sink    *mta.Sink
}

// startPlainHost takes lines for main.cf that win over its own. It is for tests that nothing runs beside:
// setup takes for the listener the first port from 10026 on that is free.
func startPlainHost(t *testing.T, more string) *plainHost {
	t.Helper()
	dir := mta.Folder(t)
	h := &plainHost{t: t, program: filepath.Join(dir, "postmend"), root: filepath.Join(dir, "root"),
		sink: mta.StartSink(t)}
	h.smtp = net.JoinHostPort("127.0.0.1", peer.FreePort(t))
	build(t, h.program)
	h.must(os.MkdirAll(filepath.Join(dir, "root"), 0o755))
	h.must(os.MkdirAll(filepath.Join(dir, "forward"), 0o755))
	h.must(os.WriteFile(filepath.Join(dir, "aliases"), []byte("team remote@example.com\n"), 0o644))
	h.must(os.WriteFile(filepath.Join(dir, "forward/nobody"), []byte("remote@example.com\n"), 0o644))
	h.sink.Refuse("reject@example.com")
	main := `
mydestination = example.org, localhost.$mydomain, localhost
virtual_alias_maps = inline:{ info@example.org=remote@example.com, refused@example.org=reject@example.com }
alias_maps = texthash:{dir}/aliases
local_recipient_maps = static:x
forward_path = {dir}/forward/$user
relayhost = [127.0.0.1]:` + h.sink.Port + `
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
`
	h.Instance = mta.Start(t, dir, mta.Merge(main, more), h.smtp+` inet n - y - - smtpd
  -o smtpd_authorized_xclient_hosts=127.0.0.0/8
`)
	// As in Debian's master.cf. The reload of setup makes it known.
	out, err := exec.Command("postconf", "-c", dir, "-F", "cleanup/unix/chroot=y",
		"rewrite/unix/chroot=y").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return h
}

func (h *plainHost) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// setup runs postmend setup for this host.
func (h *plainHost) setup(args ...string) string {
	h.t.Helper()
	peer.Age(h.t, h.Dir)
	args = append([]string{"setup", "--postfix-dir", h.Dir, "--root-dir", h.root, "--user", peer.Account,
		"--no-dns"}, args...)
	out, err := exec.Command(h.program, args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("postmend %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	if slices.Contains(args, "--prepare") {
		h.claimListener()
	}
	return string(out)
}

// claimListener has the listener at a port that no other test takes between --prepare and --apply.
func (h *plainHost) claimListener() {
	h.t.Helper()
	config := filepath.Join(h.root, "etc/postmend/postmend.toml")
	text, err := os.ReadFile(config)
	h.must(err)
	chosen := regexp.MustCompile(`"smtp://127\.0\.0\.1:100\d\d"`)
	claimed := fmt.Sprintf("%q", "smtp://127.0.0.1:"+peer.FreePort(h.t))
	h.must(os.WriteFile(config, chosen.ReplaceAll(text, []byte(claimed)), 0o644))
}

// setupFails runs it where it has to end with an error, and gives what it says.
func (h *plainHost) setupFails(args ...string) string {
	h.t.Helper()
	peer.Age(h.t, h.Dir)
	args = append([]string{"setup", "--postfix-dir", h.Dir, "--root-dir", h.root, "--user", peer.Account,
		"--no-dns"}, args...)
	out, err := exec.Command(h.program, args...).CombinedOutput()
	if err == nil {
		h.t.Errorf("postmend %s: no error\n%s", strings.Join(args, " "), out)
	}
	return string(out)
}

// configuration is what Postfix reads.
func (h *plainHost) configuration() string {
	h.t.Helper()
	peer.Age(h.t, h.Dir)
	var all strings.Builder
	for _, flag := range []string{"-n", "-M", "-P"} {
		out, err := exec.Command("postconf", "-c", h.Dir, flag).Output()
		h.must(err)
		all.Write(out)
	}
	return all.String()
}

// files gives the content, mode and owner of all that setup may write.
func (h *plainHost) files() string {
	h.t.Helper()
	out, err := exec.Command("sh", "-c",
		`cd "$1" && find main.cf master.cf *.json root -printf '%p %m %u %T@\n' | sort
		find main.cf master.cf *.json root -type f -exec cksum {} + | sort`,
		"sh", h.Dir).CombinedOutput()
	if err != nil && len(out) == 0 {
		h.t.Fatal(err)
	}
	return string(out)
}

// tell adds to the configuration that setup wrote where this host's DNS and log are.
func (h *plainHost) tell() { h.tellWith("") }

// tellWith is tell with records in DNS.
func (h *plainHost) tellWith(zone string) {
	h.t.Helper()
	dns, err := dnsserver.Start(zone)
	h.must(err)
	h.t.Cleanup(func() { dns.Close() })
	path := filepath.Join(h.root, "etc/postmend/postmend.toml")
	text, err := os.ReadFile(path)
	h.must(err)
	added := fmt.Sprintf("resolver = %q\n%s\n[log]\nsocket = %q\n", dns.Addr(), text,
		filepath.Join(h.Dir, "devlog"))
	h.must(os.WriteFile(path, []byte(added), 0o644))
}

func (h *plainHost) send(from, to string) {
	h.t.Helper()
	h.sendAs(cmp.Or(from, "mailer-daemon@receiver.example"), from, to)
}

func (h *plainHost) sendAs(author, from, to string) {
	h.t.Helper()
	content := "From: " + author +
		"\nTo: somebody@example.org\nSubject: test\nDate: Mon, 2 Nov 2026 10:00:00 +0000\n" +
		"Message-ID: <1@sender.example>\n\ntext\n"
	mta.Submit(h.t, h.smtp,
		mta.Mail{From: from, To: []string{to}, XClient: stranger, Content: []byte(content)})
}

// rcpt is what a stranger is told who has a bounce for an address.
func (h *plainHost) rcpt(address string) string {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.smtp)
	h.must(err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(mta.Patience))
	replies := bufio.NewReader(conn)
	var last string
	for _, command := range []string{"", "EHLO client.example.net", "XCLIENT " + stranger,
		"EHLO client.example.net", "MAIL FROM:<>", "RCPT TO:<" + address + ">"} {
		if command != "" {
			fmt.Fprintf(conn, "%s\r\n", command)
		}
		for {
			last, err = replies.ReadString('\n')
			h.must(err)
			if len(last) > 3 && last[3] == ' ' {
				break
			}
		}
	}
	return last
}

var srsSender = regexp.MustCompile(`^SRS0=[^=]+=[^=]+=sender\.example=alice@srs\.example\.org$`)

// forwards sends through an address that forwards, and gives the sender that the sink sees.
func (h *plainHost) forwards(to string) string {
	h.t.Helper()
	before := len(h.sink.Messages())
	h.send("alice@sender.example", to)
	got := h.sink.Wait(before + 1)[before]
	if !srsSender.MatchString(got.From) || got.To[0] != "remote@example.com" {
		h.t.Errorf("through %s: from %q to %q", to, got.From, got.To)
	}
	return got.From
}

// returnsHome checks the way back of bounces: those of this host, those of others, forged and expired ones.
func (h *plainHost) returnsHome(srs string) {
	h.t.Helper()
	for name, send := range map[string]func(){
		"this host's own bounce":       func() { h.send("alice@sender.example", "refused@example.org") },
		"a bounce from another host's": func() { h.send("", srs) },
	} {
		before := len(h.sink.Messages())
		send()
		got := h.sink.Wait(before + 1)[before]
		if got.From != "" || got.To[0] != "alice@sender.example" {
			h.t.Errorf("%s: from %q to %q", name, got.From, got.To)
		}
	}
	if reply := h.rcpt(srs); !strings.HasPrefix(reply, "250 ") {
		h.t.Errorf("a good SRS address: %s", reply)
	}
	for name, address := range map[string]string{
		"forged":              strings.Replace(srs, "alice", "bob", 1),
		"expired":             srsAddress("alice@sender.example", time.Now().AddDate(0, 0, -60)),
		"no SRS address":      "postmaster-general@srs.example.org",
		"of another's domain": "SRS0=abcd=AA=sender.example=alice@elsewhere.example",
	} {
		if reply := h.rcpt(address); !strings.HasPrefix(reply, "55") || name != "of another's domain" &&
			!strings.HasPrefix(reply, "550 5.1.1") {
			h.t.Errorf("%s: %s", name, reply)
		}
	}
}

func TestSetupMakesAPlainPostfixMendForwardsAndUndoRestoresIt(t *testing.T) {
	h := startPlainHost(t, "")
	before := h.configuration()
	untouched := h.files()

	// A secret that is there is kept.
	secrets := filepath.Join(h.root, "etc/postmend/srs.secrets")
	shown := h.setup("--print", "--mode", "content-filter")
	if !strings.Contains(shown, "content_filter=postmend:dummy") || h.files() != untouched {
		t.Errorf("--print changed something, or does not show what:\n%s", shown)
	}
	h.must(os.MkdirAll(filepath.Dir(secrets), 0o755))
	h.must(os.WriteFile(secrets, []byte(srsSecret+"\n"), 0o600))
	chownTest(t, secrets)

	records := h.setup("--apply", "--mode", "content-filter")
	for _, want := range []string{
		`(?m)^srs\.example\.org\. IN MX 10 mx\.example\.org\.$`,
		`(?m)^srs\.example\.org\. IN TXT "v=spf1 mx -all"$`,
		`(?m)^\w+\._domainkey\.example\.org\. IN TXT "v=DKIM1; k=rsa; p=[^"]{1,255}" "[^"]+"$`,
		`(?m)^_dmarc\.example\.org\. IN TXT "v=DMARC1; `,
	} {
		if !regexp.MustCompile(want).MatchString(records) {
			t.Errorf("no record %s in\n%s", want, records)
		}
	}
	h.tell()
	peer.Age(t, h.Dir)
	once := h.files()
	if again := h.setup("--apply"); !strings.Contains(again, "Nothing to do") || h.files() != once {
		t.Errorf("a second run does something:\n%s", again)
	}

	h.returnsHome(h.forwards("info@example.org"))

	h.setup("--undo")
	if after := h.configuration(); after != before {
		t.Errorf("after --undo:\n%s\nbefore --apply:\n%s", after, before)
	}
	if again := h.setup("--undo"); !strings.Contains(again, "Nothing to undo") {
		t.Errorf("a second undoing does something:\n%s", again)
	}
	h.WaitLog(0, "reload|refresh")
	count := len(h.sink.Messages())
	h.send("alice@sender.example", "info@example.org")
	if got := h.sink.Wait(count + 1)[count]; got.From != "alice@sender.example" {
		t.Errorf("after --undo, a forward has sender %q", got.From)
	}
}

func TestSetupInTransportModeMendsForwardsOfLocalToo(t *testing.T) {
	h := startPlainHost(t, "")
	before := h.configuration()
	if said := h.setup("--apply"); !strings.Contains(said, "mode transport: a content filter does not see") ||
		!strings.Contains(said, "the alias team to remote@example.com") {
		t.Errorf("the mode that forwards of local(8) need:\n%s", said)
	}
	h.tell()
	if again := h.setup("--apply"); !strings.Contains(again, "Nothing to do") {
		t.Errorf("a second run does something:\n%s", again)
	}
	for _, to := range []string{"info@example.org", "team@example.org", "nobody@example.org"} {
		h.forwards(to)
		// However it was forwarded, a stranger's mail is a stranger's: we do not sign for our own domain what
		// only claims to be from it.
		count := len(h.sink.Messages())
		h.sendAs("boss@example.org", "alice@sender.example", to)
		if got := h.sink.Wait(count + 1)[count]; bytes.Contains(got.Content, []byte("DKIM-Signature:")) {
			t.Errorf("through %s, a forged From: was signed:\n%s", to, got.Content)
		}
	}
	h.returnsHome(h.forwards("info@example.org"))
	h.setup("--undo")
	if after := h.configuration(); after != before {
		t.Errorf("after --undo:\n%s\nbefore --apply:\n%s", after, before)
	}
}

func printedCommandsDoWhatApplyDoes(t *testing.T, program string) {
	for name, apply := range map[string]func(h *plainHost){
		"printed": func(h *plainHost) {
			script := h.setup("--print")
			if reason := reachesOut(script, h.Dir, h.program); reason != "" {
				t.Fatalf("not run, because %s:\n%s", reason, script)
			}
			out, err := exec.Command("sh", "-ec", script).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			// As text to be pasted, both in the script and in what it prints.
			for _, text := range []string{script, string(out)} {
				if !regexp.MustCompile(
					`(?m)^srs\.example\.org\. IN MX 10 mx\.example\.org\.$`).MatchString(text) {
					t.Errorf("no record in\n%s", text)
				}
			}
			if !regexp.MustCompile(`(?m)^\w+\._domainkey\.example\.org\. IN TXT `).Match(out) ||
				!strings.Contains(script, "# From here on, the commands change Postfix") {
				t.Errorf("%s\n%s", script, out)
			}
		},
		"applied": func(h *plainHost) { h.setup("--apply") },
	} {
		h := restingHost(t, program, "", "")
		before := h.configuration()
		apply(h)
		after := h.configuration()
		if again := h.setup("--apply"); !strings.Contains(again, "Nothing to do") {
			t.Errorf("%s: a run after it does something:\n%s", name, again)
		}
		for _, want := range []string{"default_transport = postmend:", "postmend   unix", "127.0.0.1:100",
			"postmend-milter unix", "smtpd_milters = { unix:private/postmend-milter"} {
			if !strings.Contains(after, want) {
				t.Errorf("%s: no %q in\n%s", name, want, after)
			}
		}
		h.setup("--undo")
		if got := h.configuration(); got != before {
			t.Errorf("%s: after --undo:\n%s\nbefore:\n%s", name, got, before)
		}
	}
}

func configurationIsKept(t *testing.T, program string) {
	h := restingHost(t, program, "", "")
	home := filepath.Join(h.root, "home")
	h.must(os.MkdirAll(home, 0o755))
	config := filepath.Join(home, "mine.toml")
	text := `local_domains = ["example.org"]
[srs]
domain = "bounces.example.org"
secrets_file = "my.secrets"
[[dkim.keys]]
domain = "example.org"
selector = "mine"
file = "keys/mine.pem"
[reinject]
target = "smtp://127.0.0.1:10077"
`
	h.must(os.WriteFile(config, []byte(text), 0o644))
	shown := h.setup("--apply", "-c", "/home/mine.toml")
	if got, err := os.ReadFile(config); err != nil || string(got) != text {
		t.Errorf("the configuration was changed:\n%s", got)
	}
	for _, path := range []string{"my.secrets", "keys/mine.pem"} {
		info, err := os.Stat(filepath.Join(home, path))
		h.must(err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	for _, want := range []string{"127.0.0.1:10077", "filter -c " + config, "bounces.example.org"} {
		if !strings.Contains(h.configuration(), want) {
			t.Errorf("no %s in\n%s", want, h.configuration())
		}
	}
	if !strings.Contains(shown, "mine._domainkey.example.org. IN TXT") {
		t.Errorf("no record in\n%s", shown)
	}
}
