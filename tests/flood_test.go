package tests

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"postmend/tests/mta"
)

// TestAFloodWhoseDNSIsDeadDoesNotKeepLocalMailWaiting: sixty messages to be forwarded, each of which waits
// for a DNS server that never answers until its deadline has passed. What is for a mailbox of this host
// needs no DNS, and is delivered before them.
func TestAFloodWhoseDNSIsDeadDoesNotKeepLocalMailWaiting(t *testing.T) {
	t.Parallel()
	const flood = 60
	f := startChanged(t, func(_ *forwarder, main, _ *string) {
		aliases := ""
		for n := range flood {
			aliases += fmt.Sprintf(", alias%d@example.org=remote%d@example.com", n, n)
		}
		const alias = "alias@example.org=remote@example.com"
		replace(t, main, alias, alias+aliases)
	})
	hole, err := net.ListenPacket("udp", "127.0.0.1:0")
	f.check(err)
	t.Cleanup(func() { hole.Close() })
	f.configure(f.dns.Addr(), hole.LocalAddr().String())
	// None of the flood is done with while the test lasts, however busy the machine is.
	f.configure("[limits]\n", "[limits]\ndns_deadline = \"45s\"\n")
	send := func(to string, n int) string {
		content := fmt.Appendf(nil, "From: a%d@sender.example\nSubject: x\n"+
			"Date: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <%d@sender.example>\n\nHello.\n", n, n)
		return mta.Submit(t, f.smtp,
			mta.Mail{From: "alice@sender.example", To: []string{to}, XClient: stranger, Content: content})
	}
	ids := make([]string, flood)
	began := time.Now()
	var sending sync.WaitGroup
	for n := range ids {
		sending.Go(func() { ids[n] = send(fmt.Sprintf("alias%d@example.org", n), n) })
	}
	sending.Wait()
	if _, _, err := hole.ReadFrom(make([]byte, 1500)); err != nil { // the first of them is asking
		t.Fatal(err)
	}
	t.Logf("the flood was taken in %v", time.Since(began).Round(time.Millisecond))

	sent := time.Now()
	send("box@example.org", flood)
	f.WaitLog(0, `to=<box@example.org>, relay=127.0.0.1\[127.0.0.1\]:`+f.local.Port+`, .* status=sent`)
	waited := time.Since(sent)
	deferred := regexp.MustCompile(`(?:` + strings.Join(ids, "|") + `): to=<.* status=deferred`)
	done := len(deferred.FindAllString(f.Log(), -1))
	t.Logf("the local message waited %v; %d of %d messages of the flood were done with by then",
		waited.Round(time.Millisecond), done, flood)
	if done >= flood/3 {
		t.Errorf("the local message waited for %d messages of the flood", done)
	}
}
