package filter

import (
	"strings"
	"testing"

	"postmend/dkim"
	"postmend/filter/cause"
)

// A stranger reads these in a bounce, or in the reply of our milter: RFC 5321 section 4.5.3.1.5 gives a reply
// 512 octets with its codes.
func TestARejectionTellsAStrangerWhatToDo(t *testing.T) {
	long := strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + "." + strings.Repeat("c", 60)
	msg := facts{authors: []string{long + ".one.example", long + ".two.example", "bank.example"}}
	msg.proven.SPF.Status, msg.proven.SPF.Domain = "softfail", long+".example"
	for range 6 {
		msg.proven.DKIM = append(msg.proven.DKIM, dkim.Verification{Status: "temperror", Domain: long})
	}
	for _, c := range cause.All() {
		f := c.Failure(nil)
		if f.Temporary() {
			continue
		}
		switch c {
		case cause.TooManyClaims:
			f = c.Failure(nil, maxRemoved)
		case cause.WouldPass:
			f = c.Failure(nil, msg.claimedDomains())
		case cause.OwnDomainForged:
			f = withFindings(c.Failure(nil, msg.claimedDomains()), msg)
		case cause.DMARCFailed:
			f = withFindings(c.Failure(nil, msg.claimedDomains(), "quarantine"), msg)
		}
		text, sentences := f.Status(), strings.Count(strings.ReplaceAll(f.Reason, ". (", "("), ". ")+1
		isASCII := strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) < 0
		if len(text) > 450 || !isASCII || sentences != 2 || strings.Contains(text, "%!") {
			t.Errorf("%s: %d octets, %d sentences: %q", c.Code(), len(text), sentences, text)
		}
	}
}

// The codes tell programs why a signature does not survive, not only that From: was rewritten.
func TestTheReasonForAReasonIsLoggedAsACode(t *testing.T) {
	d := Delivery{Class: Forwarded}
	d.because(cause.FromRewritten, cause.KeyTesting.About(), "a.example", "reject")
	log := newLogLine(&Envelope{QueueID: "4F1A2B3C4D"})
	log.planned(Plan{Deliveries: []Delivery{d}}, facts{})
	line := log.String()
	if !strings.Contains(line, ` why=from-rewritten,key-testing notes="From: rewritten: the key`) {
		t.Error(line)
	}
}

// The log is read at night: what went wrong stands before how the message was to be mended.
func TestTheCauseOfAFailureComesFirst(t *testing.T) {
	log := newLogLine(&Envelope{QueueID: "4F1A2B3C4D"})
	d := Delivery{Class: Forwarded}
	d.because(cause.SenderRewritten)
	log.planned(Plan{Deliveries: []Delivery{d}}, facts{})
	log.finish(cause.NextHopFailed.Failure(nil, "connect"))
	line := log.String()
	if !strings.Contains(line,
		` why=failed,next-hop-failed,sender-rewritten notes="next hop failed at connect`) {
		t.Error(line)
	}
}
