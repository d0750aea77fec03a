package tests

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"postmend/tests/mta"
	"postmend/tests/peer"
)

// fault is something that goes wrong between Postfix and postmend, how to bring it about, and how to mend it.
type fault struct {
	name string
	arm  func() // may be nil in a soak, like mend
	mend func()
	// during happens while the message is in the filter, before Postfix has logged the outcome; may be nil.
	during func()
	// want is what Postfix logs after dsn=, status= included: a pattern.
	want string
}

// TestNoFaultLosesOrBouncesMail goes through the exit table and the faults one by one: Postfix must keep
// the message, and deliver it once the fault is mended.
func TestNoFaultLosesOrBouncesMail(t *testing.T) {
	t.Parallel()
	port := peer.FreePort(t)
	flakyAddress := net.JoinHostPort("127.0.0.1", port)
	f := startTo(t, "smtp://"+flakyAddress, withoutReverseTable)
	flaky := startFlakyListener(t, flakyAddress, func() string { return f.listener })
	log := f.syslog()

	for n, fault := range f.faults(flaky) {
		t.Run(fault.name, func(t *testing.T) {
			mark := f.Mark()
			fault.arm()
			token := fmt.Sprintf("fault-%d", n)
			id := mta.Submit(t, f.smtp,
				mta.Mail{From: "alice@sender.example", To: []string{"alias@example.org"}, XClient: stranger,
					Content: faultMessage(token)})
			if fault.during != nil {
				fault.during()
			}
			outcome := f.WaitLog(mark, id+`: to=<remote@example.com>.* dsn=(.*)`)[1]
			if !regexp.MustCompile(`^4\.` + fault.want).MatchString(outcome) {
				t.Errorf("Postfix logged %q, want 4.%s", outcome, fault.want)
			}
			before := len(f.remote.Messages())
			fault.mend()
			f.Retry(id)
			f.remote.Wait(before + 1)
			f.waitEmptyQueue()
			got := f.remote.Messages()
			if len(got) != before+1 ||
				!bytes.Contains(got[before].Content, []byte("X-Token: "+token+"\r\n")) {
				t.Errorf("after the fault was mended, %d messages came instead of this one", len(got)-before)
			} else if !bytes.HasSuffix(got[before].Content,
				bytes.ReplaceAll(faultMessage(token), []byte("\n"), []byte("\r\n"))) {
				t.Errorf("the message was changed on the way: %d octets came, starting\n%.900s",
					len(got[before].Content), got[before].Content)
			}
		})
	}
	if logged := f.Log(); strings.Contains(logged, "status=bounced") {
		t.Error("something bounced")
	}
	// The detail of a failure is in postmend's own log line, with the path that an operator needs.
	details := f.logged(log)
	for _, want := range []string{`rsa\.pem`, `no such file`, `secrets`} {
		if !regexp.MustCompile(want).MatchString(strings.Join(details, "\n")) {
			t.Errorf("no log line of postmend names %q", want)
		}
	}
}

// withoutReverseTable is for faults of the filter: they would be the table's as well, as soon as Postfix
// starts it anew, and then smtpd(8) takes no mail.
func withoutReverseTable(f *forwarder, main, _ *string) { replace(f.t, main, reverseLine, "") }

// faultMessage is large enough to fill the pipe: whoever ends before reading it all makes Postfix write
// into a closed pipe.
func faultMessage(token string) []byte {
	return []byte("From: alice@sender.example\nSubject: fault\nDate: Mon, 2 Nov 2026 10:00:00 +0000\n" +
		"Message-ID: <" + token + "@sender.example>\n" +
		"X-Token: " + token + "\n\n" + strings.Repeat("line of the body\n", 150000))
}

func (f *forwarder) faults(flaky *flakyListener) []fault {
	return slices.Concat(f.faultsOfFiles(), f.faultsOfTheProgram(flaky), f.faultsOfTheListener(flaky))
}

// The steps that make faults, and mend them.

func (f *forwarder) file(name string) string { return filepath.Join(filepath.Dir(f.config), name) }

func (f *forwarder) rename(from, to string) func() {
	return func() { f.check(os.Rename(f.file(from), f.file(to))) }
}

func (f *forwarder) chmod(name string, mode os.FileMode) func() {
	return func() { f.check(os.Chmod(f.file(name), mode)) }
}

// reconfigure changes the configuration, and gives the step that restores it.
func (f *forwarder) reconfigure(change func(config string) string) (arm, mend func()) {
	config, err := os.ReadFile(f.config)
	f.check(err)
	write := func(text string) func() {
		return func() { f.check(os.WriteFile(f.config, []byte(text), 0o644)) }
	}
	return write(change(string(config))), write(string(config))
}

// replaced puts a script in postmend's place, which is moved aside.
func (f *forwarder) replaced(script string) func() {
	return func() {
		f.rename("postmend", "postmend.real")()
		script := "#!/bin/sh\n" + strings.ReplaceAll(script, "POSTMEND", f.file("postmend.real")) + "\n"
		writeProgram(f.t, f.file("new"), []byte(script))
		f.rename("new", "postmend")()
	}
}

// faulty puts a postmend in its own place that was built to panic.
func (f *forwarder) faulty(flags ...string) func() {
	return func() {
		f.rename("postmend", "postmend.real")()
		build(f.t, f.program, append(flags, "-tags=faultinjection")...)
	}
}

func (f *forwarder) faultsOfFiles() []fault {
	const misconfigured = `3\.5, status=deferred`
	unknownKey, good := f.reconfigure(func(config string) string { return "mumble = 1\n" + config })
	spoolsIn := func(dir string) func() {
		arm, _ := f.reconfigure(func(config string) string {
			return strings.Replace(config, "[limits]", "[limits]\nspool_dir = \""+f.file(dir)+"\"", 1)
		})
		return arm
	}
	toTiny := spoolsIn("tiny")
	return []fault{
		{name: "no configuration", want: misconfigured,
			arm: f.rename("postmend.toml", "away"), mend: f.rename("away", "postmend.toml")},
		{name: "unreadable configuration", want: misconfigured,
			arm: f.chmod("postmend.toml", 0), mend: f.chmod("postmend.toml", 0o644)},
		{name: "unknown key in the configuration", want: misconfigured, arm: unknownKey, mend: good},
		{name: "no DKIM key", want: misconfigured,
			arm: f.rename("rsa.pem", "away"), mend: f.rename("away", "rsa.pem")},
		{name: "DKIM key that we may not read", want: misconfigured,
			arm: f.chmod("rsa.pem", 0), mend: f.chmod("rsa.pem", 0o600)},
		{name: "DKIM key that others may read", want: misconfigured,
			arm: f.chmod("rsa.pem", 0o644), mend: f.chmod("rsa.pem", 0o600)},
		{name: "SRS secrets that others may read", want: misconfigured,
			arm: f.chmod("secrets", 0o644), mend: f.chmod("secrets", 0o600)},
		{name: "folder for the spool is missing", want: `3\.\d, status=deferred`,
			arm: spoolsIn("missing"), mend: good},
		{name: "spool full", want: `3\.1, status=deferred`,
			arm: func() {
				f.check(os.MkdirAll(f.file("tiny"), 0o755))
				f.check(syscall.Mount("tmpfs", f.file("tiny"), "tmpfs", 0, "size=64k,mode=1777"))
				toTiny()
			},
			mend: func() { f.check(syscall.Unmount(f.file("tiny"), 0)); good() }},
	}
}

func (f *forwarder) faultsOfTheProgram(flaky *flakyListener) []fault {
	restore := f.rename("postmend.real", "postmend")
	return []fault{
		{name: "a word that argv does not know", want: `3\.5, status=deferred`,
			arm: f.replaced(`shift; exec POSTMEND filter --mumble "$@"`), mend: restore},
		{name: "no command in argv", want: `3\.5, status=deferred`,
			arm: f.replaced(`exec POSTMEND`), mend: restore},
		{name: "help asked for in argv", want: `3\.5, status=deferred`,
			arm: f.replaced(`exec POSTMEND filter --help "$@"`), mend: restore},
		{name: "program missing", want: `3\.\d, status=deferred`,
			arm: f.rename("postmend", "postmend.real"), mend: restore},
		{name: "program not executable", want: `3\.\d, status=deferred`,
			arm: f.chmod("postmend", 0o644), mend: f.chmod("postmend", 0o755)},
		{name: "no memory for the runtime", want: `3\.0, status=deferred`,
			arm: f.replaced(`ulimit -v 40000; exec POSTMEND "$@"`), mend: restore},
		{name: "panic", want: `3\.0, status=deferred.*internal error`, arm: f.faulty(), mend: restore},
		{name: "panic in another goroutine", want: `3\.0, status=deferred`,
			arm: f.faulty("-ldflags=-X main.injected=goroutine"), mend: restore},
		{name: "standard input cut short", want: `3\.0, status=deferred.*incomplete`,
			arm: f.replaced(`(head -c 500; printf x) | exec POSTMEND "$@"`), mend: restore},
		// Closed where there is a failure to report: a hand-over that cannot be reported is still a
		// hand-over.
		{name: "standard output closed", want: `3\.0, status=deferred`,
			arm: func() {
				f.replaced(`exec POSTMEND "$@" >&-`)()
				flaky.arm("MAIL", "451 4.3.0 not now")
			},
			mend: func() { restore(); flaky.mend() }},
		{name: "SIGKILL", want: `3\.0, status=deferred.*signal 9`,
			arm:    func() { flaky.arm("DATA", "stall") },
			during: func() { <-flaky.connected; f.kill() },
			mend:   flaky.mend},
	}
}

func (f *forwarder) faultsOfTheListener(flaky *flakyListener) []fault {
	elsewhere, good := f.reconfigure(func(config string) string {
		return strings.Replace(config, flaky.address, "127.0.0.1:"+peer.FreePort(f.t), 1)
	})
	impatient, _ := f.reconfigure(func(config string) string {
		return strings.Replace(config, `deadline = "50s"`, `deadline = "2s"`, 1)
	})
	faults := []fault{{name: "listener is down", want: `4\.1, status=deferred`, arm: elsewhere, mend: good}}
	for _, stage := range []string{"greeting", "EHLO", "MAIL", "RCPT", "DATA", "."} {
		for _, answer := range []string{"451 4.7.1 not now", "550 5.7.0 you are not welcome", "drop"} {
			faults = append(faults, fault{
				name: "listener at " + stage + ": " + answer, want: `\d\.\d+, status=deferred`,
				arm: func() { flaky.arm(stage, answer) }, mend: flaky.mend,
			})
		}
		if stage == "." {
			continue // that reply is waited for longer than tests wait
		}
		faults = append(faults, fault{
			name: "listener at " + stage + ": stall", want: `\d\.\d+, status=deferred`,
			arm:  func() { impatient(); flaky.arm(stage, "stall") },
			mend: func() { flaky.mend(); good() },
		})
	}
	return faults
}

// kill ends the filter process that serves this configuration, as the kernel does when memory runs out.
func (f *forwarder) kill() {
	out, err := exec.Command("pgrep", "-f", "^"+f.program+" filter -c "+f.config).Output()
	if err != nil {
		f.t.Fatalf("no filter process to kill: %v", err)
	}
	for _, pid := range strings.Fields(string(out)) {
		f.check(exec.Command("kill", "-KILL", pid).Run())
	}
}

func (f *forwarder) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *forwarder) waitEmptyQueue() {
	f.t.Helper()
	// Each queue id that is left must be logged as removed; that is the event to wait for.
	for id := range f.Queue() {
		f.WaitLog(0, id+": removed")
	}
}

func TestWhatIsRefusedOnPurposeGoesBackToItsSender(t *testing.T) {
	t.Parallel()
	port := peer.FreePort(t)
	flakyAddress := net.JoinHostPort("127.0.0.1", port)
	f := startTo(t, "smtp://"+flakyAddress, func(_ *forwarder, main, _ *string) {
		// Without the table that refuses forged addresses at RCPT, the filter does.
		replace(t, main, reverseLine, "")
		replace(t, main, "virtual_alias_domains = $virtual_alias_maps, "+srsDomain,
			"relay_domains = "+srsDomain)
	})
	flaky := startFlakyListener(t, flakyAddress, func() string { return f.listener })
	valid := srsAddress("carol@origin.example", time.Now())
	for _, refusal := range []struct {
		name, to, answer, want string
	}{
		{"forged SRS address", strings.Replace(valid, "=origin.", "=0rigin.", 1), "",
			`5\.1\.1, status=bounced`},
		{"expired SRS address", srsAddress("carol@origin.example", time.Now().AddDate(0, 0, -30)), "",
			`5\.1\.1, status=bounced`},
		{"malformed SRS address", "SRS0=x@" + srsDomain, "", // the whole text, to its end
			`5\.1\.1, status=bounced \(This recipient is .* exactly as it is\. ?\)`},
		{"content that the next hop refuses", "alias@example.org", "550 5.7.1 message content rejected",
			`5\.7\.1, status=bounced`},
		{"format that the next hop refuses", "alias@example.org", "554 5.6.0 message format error",
			`5\.6\.0, status=bounced`},
		{"too many hops", "alias@example.org", "554 5.4.0 Error: too many hops", `5\.4\.0, status=bounced`},
	} {
		t.Run(refusal.name, func(t *testing.T) {
			mark := f.Mark()
			if refusal.answer != "" {
				flaky.arm(".", refusal.answer)
				defer flaky.mend()
			}
			before := len(f.remote.Messages())
			id := mta.Submit(t, f.smtp,
				mta.Mail{From: "alice@sender.example", To: []string{refusal.to}, XClient: stranger,
					Content: []byte("From: alice@sender.example\nSubject: x\n\nx\n")})
			outcome := f.WaitLog(mark, id+`: to=<.* dsn=(.*)`)[1]
			if !regexp.MustCompile("^" + refusal.want).MatchString(outcome) {
				t.Errorf("Postfix logged %q, want %s", outcome, refusal.want)
			}
			got := f.remote.Wait(before + 1)[before]
			if got.From != "" || got.To[0] != "alice@sender.example" ||
				!bytes.Contains(got.Content, []byte("Undelivered")) {
				t.Errorf("the sender got mail from %q to %q instead of a bounce", got.From, got.To)
			}
		})
	}
}
