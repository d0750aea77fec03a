package tests

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"postmend/postfix/postconf"
	"postmend/tests/peer"
)

// knowSecret puts the tests' own SRS secret where setup would make one.
func (h *plainHost) knowSecret() {
	h.t.Helper()
	secrets := filepath.Join(h.root, "etc/postmend/srs.secrets")
	h.must(os.MkdirAll(filepath.Dir(secrets), 0o755))
	h.must(os.WriteFile(secrets, []byte(srsSecret+"\n"), 0o600))
	chownTest(h.t, secrets)
}

// bytes is what main.cf and master.cf hold.
func (h *plainHost) bytes() string {
	h.t.Helper()
	var all strings.Builder
	for _, name := range []string{"main.cf", "master.cf"} {
		text, err := os.ReadFile(filepath.Join(h.Dir, name))
		h.must(err)
		all.Write(text)
	}
	return all.String()
}

// Where main.cf has no virtual_alias_domains, its default is $virtual_alias_maps: Postfix expands what setup
// writes there once more.
func TestPostfixAnswersAfterSetupWhereTheSRSDomainHasAClass(t *testing.T) {
	const local = "local_recipient_maps = proxy:unix:passwd.byname $alias_maps\n"
	for name, row := range map[string]struct{ main, domain string }{
		"in mydestination": {"mydestination = example.org, srs.example.org\n" + local,
			"srs.example.org"},
		"the local domain itself": {"mydestination = example.org, localhost\n" + local, "example.org"},
		"in virtual_mailbox_domains": {"virtual_mailbox_domains = srs.example.org\n" +
			"virtual_mailbox_maps = inline:{ bob@srs.example.org=bob }\n" + local, "srs.example.org"},
	} {
		t.Run(name, func(t *testing.T) {
			h := startPlainHost(t, row.main)
			h.knowSecret()
			before := h.bytes()
			h.setup("--apply", "--srs-domain", row.domain)
			valid := strings.Replace(srsAddress("alice@sender.example", time.Now()), srsDomain, row.domain, 1)
			for _, address := range []string{"team@example.org", "info@example.org", valid} {
				if reply := h.rcpt(address); !strings.HasPrefix(reply, "250 ") {
					t.Errorf("%s: %s", address, reply)
				}
			}
			if reply := h.rcpt(strings.Replace(valid, "alice", "bob", 1)); !strings.HasPrefix(reply,
				"550 5.1.1") {
				t.Errorf("forged: %s", reply)
			}
			h.setup("--undo")
			if after := h.bytes(); after != before {
				t.Errorf("after --undo:\n%s\nbefore --apply:\n%s", after, before)
			}
		})
	}
}

// A rule of the operator's that nobody could foresee: setup finds out by asking.
func TestSetupGoesBackWherePostfixDoesNotAnswerAsItShould(t *testing.T) {
	h := startPlainHost(t,
		"smtpd_recipient_restrictions = check_recipient_access regexp:{{/^SRS/ REJECT no SRS}}\n")
	h.knowSecret()
	before := h.bytes()
	said := h.setupFails("--apply")
	for _, want := range []string{"SRS0=", "a valid SRS address", "no SRS", "are restored"} {
		if !strings.Contains(said, want) {
			t.Errorf("not told: %s\n%s", want, said)
		}
	}
	if after := h.bytes(); after != before {
		t.Errorf("main.cf and master.cf:\n%s\nbefore:\n%s", after, before)
	}
	if left, _ := filepath.Glob(filepath.Join(h.Dir, "*postmend-*")); left != nil {
		t.Errorf("left behind: %q", left)
	}
	count := len(h.sink.Messages())
	h.send("alice@sender.example", "info@example.org")
	if got := h.sink.Wait(count + 1)[count]; got.From != "alice@sender.example" {
		t.Errorf("a forward has sender %q", got.From)
	}
	if said := h.setup("--undo"); !strings.Contains(said, "Nothing to undo") {
		t.Errorf("something is left to undo:\n%s", said)
	}
}

// Where no smtpd(8) takes mail from this host itself, its answers tell nothing about addresses.
func TestSetupGoesOnWhereNoSmtpdTakesMailFromThisHost(t *testing.T) {
	h := startPlainHost(t,
		"smtpd_recipient_restrictions = check_client_access inline:{{127.0.0.1=REJECT not you}}\n")
	h.knowSecret()
	said := h.setup("--apply")
	for _, want := range []string{"was not tested by SMTP", h.smtp + " refuses this host", "not you"} {
		if !strings.Contains(said, want) {
			t.Errorf("not told: %s\n%s", want, said)
		}
	}
	if reply := h.rcpt(srsAddress("alice@sender.example", time.Now())); !strings.HasPrefix(reply, "250 ") {
		t.Errorf("a valid SRS address: %s", reply)
	}
}

// postfix(1) tells only root whether Postfix runs: what others have printed must not lack the reload.
func TestWhatAnotherAccountPrintsReloadsPostfix(t *testing.T) {
	h := startPlainHost(t, "")
	account, err := user.Lookup(peer.Account)
	h.must(err)
	uid, err := strconv.Atoi(account.Uid)
	h.must(err)
	peer.Age(t, h.Dir)
	setup := exec.Command(h.program, "setup", "--print", "--postfix-dir", h.Dir, "--root-dir", h.root,
		"--user", peer.Account, "--no-dns")
	setup.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid)}}
	out, err := setup.CombinedOutput()
	if err != nil || !strings.Contains(string(out), " reload\n") ||
		strings.Contains(string(out), "not running") {
		t.Errorf("%v\n%s", err, out)
	}
}

// What arrives while setup tries its changes has noted the content filter that is gone when it goes back.
func TestWhatArrivedUnderAFilterThatIsGoneIsQueuedAnew(t *testing.T) {
	h := startPlainHost(t, "")
	config, err := postconf.Open(h.Dir)
	h.must(err)
	started, mark := time.Now(), h.Mark()
	h.must(config.SetCommand(postconf.Parameter{Name: "content_filter", Value: "gone:dummy"}).Run())
	h.Reload()
	h.send("alice@sender.example", "info@example.org")
	h.WaitLog(mark, "mail transport unavailable")
	h.must(config.UnsetCommand("content_filter").Run())
	h.Reload()
	h.must(config.Requeue(started))
	h.must(exec.Command("postkick", "-c", h.Dir, "public", "pickup", "W").Run()) // which looks once a minute
	if got := h.sink.Wait(1)[0]; got.From != "alice@sender.example" {
		t.Errorf("delivered with the sender %q", got.From)
	}
}

// postsuper(1) releases held mail unless it is told which queues are meant.
func TestHeldMailStaysHeldWhenTheQueueIsQueuedAnew(t *testing.T) {
	h := startPlainHost(t, "smtpd_sender_restrictions = static:HOLD\n")
	config, err := postconf.Open(h.Dir)
	h.must(err)
	h.send("alice@sender.example", "info@example.org")
	held, err := filepath.Glob(filepath.Join(config.Get("queue_directory"), "hold", "*"))
	if h.must(err); len(held) != 1 {
		t.Fatalf("held: %q", held)
	}
	h.must(config.RequeueCommand().Run())
	if left, _ := filepath.Glob(held[0]); left == nil {
		t.Error("a message that the operator holds was released")
	}
}
