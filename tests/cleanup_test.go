package tests

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"postmend/tests/mta"
)

// TestTheListenerDropsFieldsAndStrayCRs shows what a signature has to do without to survive the re-injection
// listener: the rules of filter/plan/survivor.go are facts about cleanup(8).
func TestTheListenerDropsFieldsAndStrayCRs(t *testing.T) {
	t.Parallel()
	f := start(t)
	const header = "From: Alice <alice@example.net>\r\nBcc: carol@example.net\r\n" +
		"Resent-Bcc: dave@example.net\r\nCONTENT-LENGTH : 7\r\nReturn-Path: <alice@example.net>\r\n" +
		"X-Kept: a\rb\r\nSubject: x\r\nTo: bob@example.com\r\n"
	id := mta.Submit(t, f.listener, mta.Mail{From: "alice@example.net", To: []string{"bob@example.com"},
		Content: []byte(header + "\r\nc\rd\r\n")})
	f.WaitLog(0, id+": removed")
	got := string(f.remote.Wait(1)[0].Content)
	for _, name := range []string{"Bcc", "Resent-Bcc", "Content-Length", "Return-Path"} {
		if regexp.MustCompile(`(?im)^` + name + `\s*:`).MatchString(got) {
			t.Errorf("%s: is still there", name)
		}
	}
	for _, kept := range []string{"From: Alice <alice@example.net>\r\n", "Subject: x\r\n",
		"To: bob@example.com\r\n"} {
		if !strings.Contains(got, kept) {
			t.Errorf("%q is gone", kept)
		}
	}
	// empty where Postfix does not have it
	setting, _ := exec.Command("postconf", "-d", "-h", "cleanup_replace_stray_cr_lf").Output()
	if strings.TrimSpace(string(setting)) == "yes" &&
		(!strings.Contains(got, "X-Kept: a b\r\n") || !strings.HasSuffix(got, "\r\n\r\nc d\r\n")) {
		t.Error("a CR within a line is not a blank now")
	}
	if t.Failed() {
		t.Logf("%q", got)
	}
}
