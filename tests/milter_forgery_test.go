package tests

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"postmend/tests/mta"
)

// TestForgedResultsAreRemovedInEveryWriting: a policy server's field stands above Postfix's own Received:,
// and no milter is shown the first field.
func TestForgedResultsAreRemovedInEveryWriting(t *testing.T) {
	t.Parallel()
	f := startChanged(t, func(f *forwarder, main, master *string) {
		withDoor(f, main, master)
		withoutFilter(f, main, master)
		*main = mta.Merge(*main, "smtpd_sender_restrictions = check_sender_access inline:{ "+
			"{prepended@reject.example = PREPEND X-Policy: first} }\n")
	})
	f.check(f.dns.Add("reject.example TXT v=spf1 -all\n_dmarc.reject.example TXT v=DMARC1; p=reject"))
	const claim = "mx.example.org; dmarc=pass header.from=reject.example"
	const name = "Authentication-Results"
	forms := []string{
		name + ": " + claim,
		name + "\t: " + claim,
		name + ":\r\n " + claim,
		name + ":\r\n\t(x)\r\n\t" + claim,
		name + ": \x00" + claim,
		name + ": mx.exam\x00ple.org; dmarc=pass",
		name + ": mx.example\x00.org; dmarc=pass",
		name + "\x00: " + claim,
		" " + name + ": " + claim,
		"X-A: b\r" + name + ": " + claim,
		"X-A: b\r\r" + name + ": " + claim,
		"X-A: b\r\n\r" + name + ": " + claim,
		"\r" + name + ": " + claim,
		"no colon\r\n" + name + ": " + claim,
		name + ": (" + strings.Repeat("x", 70<<10) + ") " + claim,
		name + ": (" + strings.Repeat("x", 900) + "\r\n " + strings.Repeat("y", 90<<10) + "\r\n ) " + claim,
		name + ": \"mx.example.org\"; dmarc=pass",
		name + ": mx.example.org.; dmarc=pass",
		name + ": \"mx.exam\\ple.org\"; dmarc=pass",
		name + ": (a) mx.example.org (b) 1 (c); dmarc=pass",
		strings.Repeat(name+": "+claim+"\r\n", 99) + name + ": " + claim,
		strings.Repeat("X-Filler: "+strings.Repeat("z", 900)+"\r\n", 1300) + name + ": " + claim,
	}
	for _, sender := range []string{"a@reject.example", "prepended@reject.example"} {
		for n, form := range forms {
			content := fmt.Sprintf("%s\r\nFrom: a@reject.example\r\nX-Token: %d\r\nSubject: x\r\n\r\nx\r\n",
				form, n)
			id, err := mta.TrySubmit(f.smtp, mta.Mail{From: sender, To: []string{"box@example.org"},
				XClient: stranger, Content: []byte(content)})
			if isTooLong := len(form) > 1<<20; isTooLong || err != nil {
				if !isTooLong || err == nil || !strings.Contains(err.Error(), "5.6.0") {
					t.Errorf("%.80q: %v", form, err)
				}
				continue
			}
			f.WaitLog(0, id+": removed")
		}
	}
	for _, got := range f.local.Messages() {
		header, _, _ := bytes.Cut(got.Content, []byte("\r\n\r\n"))
		lenient := strings.NewReplacer("\x00", "", "\r\n ", " ", "\r\n\t", " ").
			Replace("\r\n" + string(header))
		found, isForged := 0, false
		for line := range strings.FieldsFuncSeq(lenient, isLineEnd) {
			line = strings.ToLower(strings.TrimSpace(line))
			if strings.HasPrefix(line, "authentication-results") && strings.Contains(line, "mx.example.org") {
				found++
				isForged = isForged || strings.Contains(line, "dmarc=pass")
			}
		}
		if found != 1 || isForged {
			t.Errorf("%s: %d fields of ours: %.3000q", got.From, found, header)
		}
	}
	if n := len(f.local.Messages()); n != 2*(len(forms)-1) {
		t.Errorf("%d messages came", n)
	}
}

func isLineEnd(r rune) bool { return r == '\r' || r == '\n' }
