package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"postmend/tests/mta"
)

// TestReportTellsWhatLocalProgramsSendOn: an alias of local(8), which no content filter sees, and a
// redirect as Sieve makes it, with a stranger's sender from this host. Both are forwards and stand in the
// tables, with advice that fits.
func TestReportTellsWhatLocalProgramsSendOn(t *testing.T) {
	t.Parallel()
	f := start(t)
	refuser := startRefuser(t)
	f.postconf("relayhost=[127.0.0.1]:"+refuser.port, "mydestination=local.example", "local_recipient_maps=",
		"mailbox_size_limit=0", "alias_maps=inline:{ team=gmail-dmarc@mail.example.com }")
	f.configure(`local_domains = ["example.org"]`, `local_domains = ["example.org", "local.example"]`)
	own := f.syslog()
	submit := func(from, to, xclient string) {
		mta.Submit(t, f.smtp, mta.Mail{From: from, To: []string{to}, XClient: xclient,
			Content: []byte("From: " + from + "\nSubject: test\n\nHello.\n")})
	}
	submit("alice@sender.example", "team@local.example", stranger)
	submit("heidi@redirect.example", "spam@mail.example.com", "")
	f.WaitLog(0, `to=<gmail-dmarc@mail.example.com>.* status=bounced`)
	f.WaitLog(0, `to=<spam@mail.example.com>.* status=bounced`)
	f.waitQueue(0)
	path := filepath.Join(f.Dir, "mail.log")
	f.check(os.WriteFile(path, f.withOwnLines(own), 0o644))
	var got reportData
	f.check(json.Unmarshal(f.report("--json", path), &got))
	if c := got.Kinds["forwarded"]; c.Refused != 2 || got.Kinds["outgoing"].Refused != 0 {
		t.Errorf("%+v", got.Kinds)
	}
	wantRows(t, "sender domains", got.Domains, "redirect.example 0 0 1 content=1",
		"sender.example 0 0 1 dmarc=1")
	wantAdvice(t, got, "sender.example", "alias(5) and .forward files pass no content filter")
}
