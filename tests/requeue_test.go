package tests

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"postmend/tests/mta"
)

// TestAUsersMailIsStillHisAfterPostsuperHasRequeuedIt: postsuper -r gives a message a new queue id, and a new
// Received: field.
func TestAUsersMailIsStillHisAfterPostsuperHasRequeuedIt(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(f *forwarder, main, master *string){
		"pipe": func(*forwarder, *string, *string) {},
		"LMTP": func(f *forwarder, main, master *string) { byLMTP(f, main, master) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startChanged(t, func(f *forwarder, main, master *string) {
				*main = mta.Merge(*main, "smtpd_relay_restrictions = check_helo_access static:OK, reject\n"+
					"defer_transports = postmend\n")
				change(f, main, master)
			})
			f.check(f.dns.Add("_dmarc.example.org TXT v=DMARC1; p=reject\nexample.org TXT v=spf1 -all"))
			const content = "From: box@example.org\nSubject: hello\nDate: Mon, 2 Nov 2026 10:00:00 +0000\n" +
				"Message-ID: <1@example.org>\n\ntext\n"
			mark := f.Mark()
			mta.Submit(t, f.smtp, mta.Mail{From: "box@example.org", To: []string{"friend@example.net"},
				XClient: stranger + " LOGIN=box", Content: []byte(content)})
			f.WaitLog(mark, `status=deferred`)
			path := f.Dir + "/main.cf"
			main, err := os.ReadFile(path)
			f.check(err)
			f.check(os.WriteFile(path, bytes.Replace(main, []byte("\ndefer_transports = postmend\n"),
				[]byte("\n"), 1), 0o644))
			f.Reload()
			out, err := exec.Command("postsuper", "-c", f.Dir, "-r", "ALL", "deferred").CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			got := f.remote.Wait(1)
			if got[0].From != "box@example.org" ||
				!bytes.Contains(got[0].Content, []byte("d=example.org")) ||
				!strings.HasSuffix(string(got[0].Content), strings.ReplaceAll(content, "\n", "\r\n")) {
				t.Errorf("from %s came\n%s", got[0].From, got[0].Content)
			}
			if t.Failed() {
				t.Log(f.Log())
			}
		})
	}
}
