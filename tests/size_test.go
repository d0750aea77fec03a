package tests

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"postmend/tests/mta"
)

// What postmend puts on top makes a message larger. One that was accepted, however large, is not to bounce
// for that.
func TestTheLargestMessageThatIsAcceptedIsDelivered(t *testing.T) {
	t.Parallel()
	const limit, step = 60000, 250
	f := startChanged(t, func(_ *forwarder, main, _ *string) {
		replace(t, main, "message_size_limit = 100000000", fmt.Sprintf("message_size_limit = %d", limit))
	})
	header := "From: alice@sender.example\nSubject: large\nDate: Mon, 2 Nov 2026 10:00:00 +0000\n" +
		"Message-ID: <large@sender.example>\n\n"
	var largest []byte
	for lines := limit / step; largest == nil; lines-- {
		content := []byte(header + strings.Repeat(strings.Repeat("x", step-1)+"\n", lines))
		_, err := mta.TrySubmit(f.smtp,
			mta.Mail{From: "alice@sender.example", To: []string{"alias@example.org"}, XClient: stranger,
				Content: content})
		switch {
		case err == nil:
			largest = content
		case !strings.Contains(err.Error(), "552"):
			t.Fatal(err)
		}
	}
	got := f.remote.Wait(1)[0]
	if got.To[0] != "remote@example.com" ||
		!bytes.HasSuffix(got.Content, bytes.ReplaceAll(largest, []byte("\n"), []byte("\r\n"))) {
		t.Errorf("of a message of %d octets came, to %q:\n%.1500s", len(largest), got.To, got.Content)
	}
}
