package tests

import (
	"bytes"
	"testing"

	"postmend/tests/mta"
)

// TestAUsersMailIsStillHisAfterLocalHasForwardedIt: local(8) makes a new message of what alias(5) forwards,
// with a Received: field of its own, and tells lmtp(8) the queue id of the old one.
func TestAUsersMailIsStillHisAfterLocalHasForwardedIt(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(f *forwarder, main, master *string){
		"pipe": func(*forwarder, *string, *string) {},
		"LMTP": func(f *forwarder, main, master *string) { byLMTP(f, main, master) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startChanged(t, func(f *forwarder, main, master *string) {
				*main = mta.Merge(*main, "smtpd_relay_restrictions = check_helo_access static:OK, reject\n"+
					"mydestination = local.example.org\nalias_maps = inline:{ {outer=inner}, "+
					"{inner=remote@example.com} }\nlocal_recipient_maps =\nmailbox_size_limit = 0\n")
				change(f, main, master)
				asTransport(f, main, master)
			})
			f.configure(`["example.org"]`, `["example.org", "local.example.org"]`)
			f.check(f.dns.Add("_dmarc.example.org TXT v=DMARC1; p=reject\nexample.org TXT v=spf1 -all"))
			const content = "From: box@example.org\nSubject: hello\nDate: Mon, 2 Nov 2026 10:00:00 +0000\n" +
				"Message-ID: <1@example.org>\n\ntext\n"
			for _, to := range []string{"inner@local.example.org", "outer@local.example.org"} {
				for login, name := range map[string]string{" LOGIN=box": "the user", "": "a stranger"} {
					mta.Submit(t, f.smtp, mta.Mail{From: "box@example.org", To: []string{to},
						XClient: stranger + login, Content: []byte("X-From: " + name + "\n" + content)})
				}
			}
			f.local.Wait(2) // the bounces
			f.waitEmptyQueue()
			for _, got := range f.remote.Wait(2) {
				if got.From != "box@example.org" || !bytes.Contains(got.Content, []byte("d=example.org")) ||
					!bytes.Contains(got.Content, []byte("\nX-From: the user")) {
					t.Errorf("from %s came\n%s", got.From, got.Content)
				}
			}
			if n := len(f.remote.Messages()); n != 2 {
				t.Errorf("%d messages came", n)
			}
		})
	}
}
