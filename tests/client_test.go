package tests

import (
	"bytes"
	"os/exec"
	"testing"

	"postmend/tests/mta"
)

// TestAClientWhoseAddressIsNotKnownIsAStranger: Postfix writes `unknown` for a client that a filter in
// front of it, or a proxy, did not tell the address of, and nothing for what was submitted on this host.
func TestAClientWhoseAddressIsNotKnownIsAStranger(t *testing.T) {
	t.Parallel()
	f := start(t)
	content := []byte("From: ceo@example.org\nSubject: x\nDate: Mon, 2 Nov 2026 10:00:00 +0000\n" +
		"Message-ID: <1@sender.example>\n\nHello.\n")
	mta.Submit(t, f.smtp, mta.Mail{From: "alice@sender.example", To: []string{"alias@example.org"},
		XClient: "NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE]", Content: content})
	f.WaitLog(0, `to=<remote@example.com>, .*relay=127.*status=sent`)
	mark := f.Mark()
	local := exec.Command("sendmail", "-C", f.Dir, "-f", "box@example.org", "remote@example.com")
	local.Stdin = bytes.NewReader(content)
	if out, err := local.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f.WaitLog(mark, `to=<remote@example.com>, .*relay=127.*status=sent`)
	f.waitEmptyQueue()
	came := f.remote.Messages()
	if len(came) != 2 {
		t.Fatalf("%d messages came, want two", len(came))
	}
	for n, signed := range []bool{false, true} {
		if got := bytes.Contains(came[n].Content, []byte("d=example.org")); got != signed {
			t.Errorf("message %d, from %s: signed %t, want %t\n%s", n, came[n].From, got, signed,
				came[n].Content)
		}
	}
}
