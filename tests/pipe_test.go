package tests

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"postmend/tests/mta"
)

// TestWhateverPipeWritesEndsWithALineEnd: what decides whether a message was cut short must not take a
// whole one for that.
func TestWhateverPipeWritesEndsWithALineEnd(t *testing.T) {
	t.Parallel()
	for _, flags := range []string{"flags=q ", ""} {
		t.Run(flags, func(t *testing.T) {
			f := startChanged(t, func(_ *forwarder, main, master *string) {
				replace(t, master, "flags=q ", flags)
				*main += "line_length_limit = 512\n"
			})
			header := "From: alice@example.org\nSubject: x\n"
			for n, content := range []string{
				header + "\nno line end",
				// ends with a record that says "to be continued" (REC_TYPE_CONT)
				header + "\n" + strings.Repeat("x", 2*512),
				header + "\n" + strings.Repeat("x", 2*512) + "\n",
				header + "\n",
				strings.TrimSuffix(header, "\n"),
				header + "\n\r",
			} {
				sendmail := exec.Command("sendmail", "-C", f.Dir, "-i", "-f", "alice@example.org",
					"remote@example.com")
				sendmail.Stdin = strings.NewReader(content)
				if out, err := sendmail.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				f.remote.Wait(n + 1)
			}
			if logged := f.Log(); strings.Contains(logged, "deferred") {
				t.Errorf("something waits:\n%s", logged)
			}
		})
	}
}

func TestAFromLineThatPipeAddsIsNamedAsAFault(t *testing.T) {
	t.Parallel()
	f := startChanged(t, func(_ *forwarder, _, master *string) {
		replace(t, master, "flags=q ", "flags=Fq ")
	})
	id := mta.Submit(t, f.smtp, mta.Mail{From: "alice@sender.example", To: []string{"alias@example.org"},
		XClient: stranger, Content: faultMessage("from")})
	said := f.WaitLog(0, id+`: to=<remote@example.com>.* dsn=(.*)`)[1]
	if !strings.HasPrefix(said, "4.3.5, status=deferred") || !strings.Contains(said, "flags=") {
		t.Errorf("Postfix logged %q", said)
	}
}

// Without SMTPUTF8, Postfix carries 8-bit addresses as octets.
func TestWithoutSMTPUTF8An8BitAddressGoesTheWayItCame(t *testing.T) {
	t.Parallel()
	f := startChanged(t, func(_ *forwarder, main, _ *string) { *main += "smtputf8_enable = no\n" })
	for n, local := range []string{"al\u00efce", "al\xefce"} {
		mta.Submit(t, f.smtp, mta.Mail{From: local + "@sender.example", To: []string{local + "@example.com"},
			XClient: "ADDR=127.0.0.1", Content: []byte("From: alice@sender.example\n\nbody\n")})
		got := f.remote.Wait(n + 1)[n]
		if !strings.Contains(got.From, local) || !bytes.Contains([]byte(got.To[0]), []byte(local)) {
			t.Errorf("%q: came from %q to %q", local, got.From, got.To)
		}
	}
}
