package filter

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"postmend/filter/plan"
)

// TestMessagesAtTheSameTimeDoNotLearnOfEachOther: one Filter serves all messages of a resident process, and
// judges at the door meanwhile.
func TestMessagesAtTheSameTimeDoNotLearnOfEachOther(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // for a key of the scenarios
	exit, target := startExit(t)
	w := sharedWorld(t)
	zone := ""
	for n := range 5 {
		zone += fmt.Sprintf("bank%d.example TXT v=spf1 ip4:192.0.2.%d -all\n"+
			"_dmarc.bank%[1]d.example TXT v=DMARC1; p=reject\n", n, 25+n)
	}
	s := scenario{"zone": zone}
	f, err := New(w.config(t, s, w.dns(t, s).Addr(), target), Options{Resident: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const messages = 60
	var all sync.WaitGroup
	for n := range messages {
		all.Go(func() {
			env := &plan.Envelope{Sender: fmt.Sprintf("a%d@bank%d.example", n, n%5),
				HELO: "mail.bank.example", ClientAddress: fmt.Sprintf("192.0.2.%d", 25+n%5),
				Recipients: []plan.Recipient{
					{Address: fmt.Sprintf("r%d@remote.example", n),
						Original: fmt.Sprintf("alias%d@example.org", n)},
					{Address: fmt.Sprintf("s%d@remote.example", n),
						Original: fmt.Sprintf("other%d@example.org", n)},
					{Address: fmt.Sprintf("box%d@example.org", n)}}}
			text := fmt.Sprintf("From: a%d@bank%d.example\nSubject: token-%[1]d.\n\nbody\n", n, n%5)
			if j, err := f.Judge(context.Background(), env,
				strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n"))); err != nil || len(j.Add) != 2 ||
				!strings.Contains(string(j.Add[1]),
					fmt.Sprintf("dmarc=pass header.from=bank%d.example", n%5)) {
				t.Errorf("%d: %v %q", n, err, j.Add)
			}
			outcomes, _ := f.RunEach(context.Background(), env, strings.NewReader(text), nil)
			for i, o := range outcomes {
				if o.Err != nil {
					t.Errorf("%d, recipient %d: %v", n, i, o.Err)
				}
			}
		})
	}
	all.Wait()
	exit.mu.Lock()
	defer exit.mu.Unlock()
	if len(exit.sent) != 3*messages {
		t.Errorf("%d messages left, want %d", len(exit.sent), 3*messages)
	}
	for _, left := range exit.sent {
		n := -1
		if i := strings.Index(left.text, "Subject: token-"); i >= 0 {
			fmt.Sscanf(left.text[i:], "Subject: token-%d.", &n)
		}
		to := left.recipients[0]
		author := map[byte]string{'r': fmt.Sprintf("<alias%d@example.org>", n),
			's': fmt.Sprintf("<other%d@example.org>", n),
			'b': fmt.Sprintf("a%d@bank%d.example", n, n%5)}[to[0]]
		from := strings.Join(fieldsOf(left.text, "From"), "")
		if !strings.Contains(to, fmt.Sprint(n)+"@") || !strings.Contains(from, author) ||
			len(left.recipients) != 1 ||
			!strings.Contains(left.sender, fmt.Sprintf("a%d@", n)) {
			t.Errorf("message %d went from %s to %v, with %s", n, left.sender, left.recipients, from)
		}
	}
}
