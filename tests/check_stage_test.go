package tests

import (
	"net"
	"os"
	"strings"
	"testing"

	"postmend/postfix/check"
	"postmend/tests/mta"
	"postmend/tests/peer"
)

// prepared is a host with postmend's own files, whose Postfix does not know postmend.
func prepared(t *testing.T) *checkedHost {
	t.Helper()
	h := newCheckedHost(t, checkedProgram(t))
	h.setUpByHand(newKey(t))
	mta.Configure(t, h.dir, plainMain, plainMaster)
	return h
}

// nextStep is the last finding, which says what comes next.
func nextStep(t *testing.T, findings []check.Finding) check.Finding {
	t.Helper()
	last := findings[len(findings)-1]
	if last.Name != "stage" {
		t.Fatalf("the last finding is %+v", last)
	}
	return last
}

// At a port that another program has, Postfix cannot listen. That program is not ours to stop.
func TestCheckNamesAProgramAtTheListenersPort(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	us := strings.TrimSpace(string(comm))
	for name, h := range map[string]*checkedHost{"prepared": prepared(t), "set up": setUp(t)} {
		h.shell(`target smtp://127.0.0.1:` + port + `
			m 's/^` + documentedListener + `/127.0.0.1:` + port + `/'`)
		wrong := h.check("--no-dns")
		if len(wrong) != 1 || wrong[0].Name != "listener-port" ||
			!strings.Contains(wrong[0].What, port+", the target of [reinject], is taken by "+us) {
			t.Errorf("%s: %+v", name, wrong)
		}
		h.mendAll(wrong)
		if wrong := h.check("--no-dns"); wrong != nil {
			t.Errorf("%s, after what check said: %+v", name, wrong)
		}
	}
}

// Two edits of one line, one to the listener's port and one to a free port, would contradict each other.
func TestCheckLeavesThePortToAnotherProgramIfTheListenerIsElsewhere(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	h := setUp(t)
	h.shell(`target smtp://127.0.0.1:` + port)
	wrong := h.check("--no-dns")
	if len(wrong) != 1 || !strings.Contains(wrong[0].What, "the listener is "+h.listener+"/inet") {
		t.Errorf("%+v", wrong)
	}
	h.mendAll(wrong)
	if wrong := h.check("--no-dns"); wrong != nil {
		t.Errorf("after what check said: %+v", wrong)
	}
}

// As long as Postfix does not know postmend, no command leads mail through it before the records are
// published.
func TestCheckLeadsFromThePreparedFilesOverDNSToSetup(t *testing.T) {
	t.Parallel()
	h := prepared(t)
	for _, f := range h.check("--no-dns") {
		t.Errorf("a right thing is found wrong: %+v", f)
	}
	if next := nextStep(t, h.findings("--no-dns")); next.Mend != "" ||
		!strings.Contains(next.What, "--no-dns") {
		t.Errorf("DNS not asked: %+v", next)
	}

	h.publish()
	complete := h.zone
	h.zone = strings.Replace(h.zone, "srs.example.org TXT v=spf1 mx -all\n", "", 1)
	h.publish()
	if next := nextStep(t, h.findings()); next.Mend != "" || !strings.Contains(next.What, "publish") {
		t.Errorf("a record is missing: %+v", next)
	}
	for _, f := range h.check() {
		if f.Area != "DNS" || f.Publish == "" {
			t.Errorf("in the time before the records are published: %+v", f)
		}
	}

	h.zone = complete
	h.publish()
	h.shell(`chmod o+r "$HOME_DIR/srs.secrets"`)
	if next := nextStep(t, h.findings()); next.Mend != "" || !strings.Contains(next.What, "errors above") {
		t.Errorf("an error of ours: %+v", next)
	}
	h.mendAll(h.check())

	next := nextStep(t, h.findings())
	if wrong := h.check(); wrong != nil || !strings.Contains(next.Mend, "setup --apply") {
		t.Fatalf("all is ready: %+v, %+v", wrong, next)
	}
	h.mend(next)
	for _, f := range h.findings() {
		if f.Name == "stage" || f.Severity == check.Error {
			t.Errorf("after setup: %+v", f)
		}
	}
}

// acl(5): a list lets an account read what the mode keeps from it.
func TestCheckAsksTheKernelWhoMayRead(t *testing.T) {
	t.Parallel()
	peer.Need(t, "setfacl")
	h := setUp(t)
	h.shell(`chown root "$HOME_DIR"/dkim/*.pem; setfacl -m u:postmend-test:r "$HOME_DIR"/dkim/*.pem`)
	if wrong := h.check("--no-dns"); wrong != nil {
		t.Errorf("%+v", wrong)
	}
}

// With all of Postfix set up but the switch, the command for it is held back until receivers find the
// records.
func TestCheckHoldsTheSwitchBackUntilTheRecordsArePublished(t *testing.T) {
	t.Parallel()
	h := setUp(t)
	h.shell(`pc -X content_filter`)
	h.publish()
	h.zone = strings.Replace(h.zone, "srs.example.org MX 10 mx.example.org\n", "", 1)
	h.publish()
	for _, f := range h.check() {
		if f.Mend != "" {
			t.Errorf("a command, before the record is there: %+v", f)
		}
		if f.Publish != "" {
			h.follow(f.Publish)
		}
	}
	wrong := h.check()
	if len(wrong) != 1 || wrong[0].Name != "route" || wrong[0].Mend == "" {
		t.Fatalf("with the record: %+v", wrong)
	}
	h.mendAll(wrong)
	if wrong := h.check(); wrong != nil {
		t.Errorf("after what check said: %+v", wrong)
	}
}
