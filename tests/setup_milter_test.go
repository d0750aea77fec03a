package tests

import (
	"strings"
	"testing"

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
	h.setup("--undo")
	if after := h.configuration(); after != before {
		t.Errorf("undo:\n%s\nwas\n%s", after, before)
	}
}
