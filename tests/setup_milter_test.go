package tests

import (
	"os/exec"
	"strings"
	"testing"

	"postmend/postfix/check"
	"postmend/tests/mta"
)

// TestSetupAddsAMilterThatRefusesForgeries: with the lines that setup writes, a chrooted smtpd(8) asks the
// milter that spawn(8) starts. Forgeries of our domain are refused, other mail goes on, and undo leaves
// nothing.
func TestSetupAddsAMilterThatRefusesForgeries(t *testing.T) {
	h := startPlainHost(t, "")
	before := h.configuration()
	h.setup("--prepare", "--milter")
	h.tellWith("_dmarc.example.org TXT v=DMARC1; p=reject\nexample.org TXT v=spf1 -all\n" +
		"sender.example TXT v=spf1 ip4:192.0.2.1 -all\n")
	h.setup("--apply", "--milter")
	if all := h.configuration(); !strings.Contains(all, "default_transport = postmend:") {
		t.Errorf("not the transport:\n%s", all)
	}
	if log := h.Log(); strings.Contains(log, "unused parameter") {
		t.Error("Postfix does not know a parameter")
	}
	h.forwards("info@example.org")
	h.forwards("team@example.org") // alias(5)
	forgery := mta.Mail{From: "x@evil.example", To: []string{"info@example.org"}, XClient: stranger,
		Content: []byte("From: boss@example.org\nSubject: pay\n\nx\n")}
	if _, err := mta.TrySubmit(h.smtp, forgery); err == nil || !strings.Contains(err.Error(), "550 5.7.1 ") {
		t.Errorf("a forgery: %v", err)
	}
	if again := h.setup(); strings.Contains(again, "smtpd_milters") {
		t.Errorf("setup without the flag has something to do:\n%s", again)
	}
	h.milterLost("postconf", "-c", h.Dir, "-X", "smtpd_milters")
	h.milterLost("postconf", "-c", h.Dir, "-MX", "postmend-milter/unix")
	h.setup("--undo")
	if after := h.configuration(); after != before {
		t.Errorf("undo:\n%s\nwas\n%s", after, before)
	}
}

// milterLost: where a command has undone a half of the milter, check says so, and what it prints mends it.
func (h *plainHost) milterLost(command ...string) {
	h.t.Helper()
	unused := func() (mend string) {
		c := h.checked()
		for _, f := range c.findings("--no-dns") {
			if f.Name == "milter-unused" && f.Severity == check.Warning {
				mend = f.Mend
			}
		}
		return mend
	}
	if mend := unused(); mend != "" {
		h.t.Errorf("a milter in use: %s", mend)
	}
	h.must(exec.Command(command[0], command[1:]...).Run())
	mend := unused()
	if !strings.Contains(mend, "setup --apply --milter") {
		h.t.Fatalf("%q: check prints %q", command, mend)
	}
	h.setup("--apply", "--milter")
	if mend := unused(); mend != "" {
		h.t.Errorf("after setup, check prints %s", mend)
	}
}
