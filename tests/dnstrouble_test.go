package tests

import (
	"bytes"
	"crypto"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"postmend/tests/mta"
)

// TestDNSThatNeverAnswersKeepsMailButNotForEver: deferred with 4.4.3 while dns_patience lasts, sent on as
// not authenticated after it.
func TestDNSThatNeverAnswersKeepsMailButNotForEver(t *testing.T) {
	t.Parallel()
	for _, trouble := range []struct {
		name string
		arm  func(f *forwarder)
	}{
		{"the author's domain does not answer", func(f *forwarder) {
			f.check(f.dns.Add("sender.example DROP\n_dmarc.sender.example DROP\n" +
				"rsa._domainkey.sender.example DROP"))
		}},
		{"no server answers", func(f *forwarder) {
			hole, err := net.ListenPacket("udp", "127.0.0.1:0")
			f.check(err)
			t.Cleanup(func() { hole.Close() })
			f.configure(f.dns.Addr(), hole.LocalAddr().String())
		}},
	} {
		t.Run(trouble.name, func(t *testing.T) {
			t.Parallel()
			f := start(t)
			f.configure(`deadline = "50s"`, "deadline = \"50s\"\ndns_deadline = \"1s\"")
			trouble.arm(f)
			w := world{forwarder: f, keys: map[string]crypto.Signer{}}
			w.newKeys("sender.example")
			content := w.step("sender.example rsa relaxed",
				[]byte("From: alice@sender.example\r\nSubject: x\r\n"+
					"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@sender.example>\r\n\r\n"+
					"Hello.\r\n"))
			id := mta.Submit(t, f.smtp,
				mta.Mail{From: "alice@sender.example", To: []string{"alias@example.org"}, XClient: stranger,
					Content: content})
			if got := f.WaitLog(0, id+`: to=<remote@example.com>.* dsn=(.*)`)[1]; !strings.HasPrefix(got,
				"4.4.3, status=deferred") {
				t.Fatalf("Postfix logged %q, want 4.4.3, status=deferred", got)
			}
			mark := f.Mark()
			f.Retry(id)
			if got := f.WaitLog(mark, id+`: to=<remote@example.com>.* dsn=(.*)`)[1]; !strings.HasPrefix(got,
				"4.4.3, status=deferred") {
				t.Errorf("Postfix logged %q the second time, want 4.4.3, status=deferred", got)
			}
			if came := f.remote.Messages(); len(came) > 0 || f.Queue()[id] == "" {
				t.Errorf("%d messages came, and the queue has %v; it must have %s", len(came), f.Queue(), id)
			}

			f.configure("dns_deadline", "dns_patience = \"1s\"\ndns_deadline")
			f.Retry(id)
			f.WaitLog(0, id+": removed")
			f.waitEmptyQueue()
			came := f.remote.Messages()
			if len(came) != 1 {
				t.Fatalf("%d messages came, want one", len(came))
			}
			if !bytes.HasSuffix(came[0].Content, content) {
				t.Errorf("header or body was changed:\n%s", came[0].Content)
			}
			if !slices.Contains(wantSRS("alice@sender.example"), came[0].From) ||
				!bytes.Contains(came[0].Content, []byte("\tdmarc=temperror")) {
				t.Errorf("came from %q, want the SRS form, and dmarc=temperror in "+
					"Authentication-Results:\n%s", came[0].From, came[0].Content)
			}
		})
	}
}

// TestSlowDNSLetsNoForgeryPass: whoever forges chooses which names are asked for, and some that never
// answer. What the forwarder knows all the same must count, and what it cannot know must not make it vouch
// for the message by its own address.
func TestSlowDNSLetsNoForgeryPass(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"reject", "none"} {
		t.Run("own domain "+policy, func(t *testing.T) {
			t.Parallel()
			w := &world{forwarder: start(t), srsDomain: srsDomain, policy: policy}
			w.configure(`deadline = "50s"`,
				"deadline = \"50s\"\ndns_deadline = \"1s\"\ndns_patience = \"1s\"")
			w.write()
			w.newKeys("lame.example.org")
			w.check(w.dns.Add("slow._domainkey.attacker.example DROP\nslow._domainkey.lame.example.org DROP"))
			w.letters = nil
			own := origin{domain: "example.org", policy: policy}
			for range 5 {
				for _, signer := range []string{"attacker.example", "lame.example.org"} {
					slow := []string{signer + " slow relaxed"}
					w.add(way{"sender of our own, slow key of " + signer, "boss@D", "box@example.org",
						attacker, "", slow}, own, true)
					w.add(way{"null sender, slow key of " + signer, "boss@D", "", attacker, "", slow}, own,
						true)
				}
			}
			outcomes := make([]*outcome, len(w.letters))
			waiting := map[string]mta.Mark{} // by queue id
			for n, l := range w.letters {
				l.content = bytes.Replace(l.content, []byte("X-Token: "),
					fmt.Appendf(nil, "X-Token: %d\r\nX-Was: ", n), 1)
				outcomes[n] = &outcome{letter: l}
				l.to = l.to[:1]
				mark := w.Mark()
				id, err := l.submit(w.smtp)
				w.check(err)
				waiting[id] = mark
			}
			// they may wait for as long as DNS does not answer; three attempts are past dns_patience
			for range 3 {
				w.forget(waiting)
				for id := range waiting {
					waiting[id] = w.Mark()
					w.Retry(id)
				}
			}
			w.forget(waiting)
			for id, queue := range w.Queue() {
				if queue != "deferred" {
					w.WaitLog(0, id+": (removed|to=<.* status=deferred)")
				}
			}
			w.collect(outcomes)
			if len(w.remote.Messages()) == 0 {
				return // none left
			}
			w.judge(outcomes)
			for _, o := range outcomes {
				for _, e := range o.left {
					if e.Passed() {
						t.Errorf("%s: passes at the receiver: %+v", o.name, e)
					}
				}
			}
		})
	}
}

// forget takes out the messages that the filter is done with, when each has been tried after its mark.
func (f *forwarder) forget(waiting map[string]mta.Mark) {
	f.t.Helper()
	for id, mark := range waiting {
		if f.WaitLog(mark, id+": to=<.* dsn=(.)")[1] != "4" {
			f.WaitLog(mark, id+": removed")
			delete(waiting, id)
		}
	}
}
