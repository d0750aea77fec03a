package filter

import (
	"strings"
	"testing"

	"postmend/dkim"
)

func TestEachCauseHasATextThatFormats(t *testing.T) {
	for _, cause := range Causes() {
		format := strings.ReplaceAll(causes[cause].format, "%%", "")
		about := make([]any, strings.Count(format, "%"))
		for n := range about {
			about[n] = "x"
		}
		if text := cause.about(about...).Text; text == "" || strings.Contains(text, "%!") {
			t.Errorf("%s: %q", cause.Code(), text)
		}
		// RFC 3463 section 2: the class of a code says whether the sender gets a bounce.
		f := cause.Failure(nil, about...)
		if f.Code != "" && strings.HasPrefix(f.Code, "4.") != f.Temporary() {
			t.Errorf("%s: temporary %t, code %s", cause.Code(), f.Temporary(), f.Code)
		}
	}
}

// A stranger reads these in a bounce, or in the reply of our milter: RFC 5321 section 4.5.3.1.5 gives a reply
// 512 octets with its codes.
func TestARejectionTellsAStrangerWhatToDo(t *testing.T) {
	long := strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + "." + strings.Repeat("c", 60)
	msg := facts{authors: []string{long + ".one.example", long + ".two.example", "bank.example"}}
	msg.proven.SPF.Status, msg.proven.SPF.Domain = "softfail", long+".example"
	for range 6 {
		msg.proven.DKIM = append(msg.proven.DKIM, dkim.Verification{Status: "temperror", Domain: long})
	}
	for _, cause := range Causes() {
		f := cause.Failure(nil)
		if f.Temporary() {
			continue
		}
		switch cause {
		case TooManyClaims:
			f = cause.Failure(nil, maxRemoved)
		case WouldPass:
			f = cause.Failure(nil, msg.claimedDomains())
		case OwnDomainForged:
			f = withFindings(cause.Failure(nil, msg.claimedDomains()), msg)
		case DMARCFailed:
			f = withFindings(cause.Failure(nil, msg.claimedDomains(), "quarantine"), msg)
		}
		text, sentences := f.Status(), strings.Count(strings.ReplaceAll(f.Reason, ". (", "("), ". ")+1
		isASCII := strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) < 0
		if len(text) > 450 || !isASCII || sentences != 2 || strings.Contains(text, "%!") {
			t.Errorf("%s: %d octets, %d sentences: %q", cause.Code(), len(text), sentences, text)
		}
	}
}

// The codes tell programs why a signature does not survive, not only that From: was rewritten.
func TestTheReasonForAReasonIsLoggedAsACode(t *testing.T) {
	d := Delivery{Class: Forwarded}
	d.because(FromRewritten, KeyTesting.about(), "a.example", "reject")
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
	log.planned(Plan{Deliveries: []Delivery{{Class: Forwarded, Reasons: []Reason{SenderRewritten.about()}}}},
		facts{})
	log.finish(NextHopFailed.Failure(nil, "connect"))
	line := log.String()
	if !strings.Contains(line,
		` why=failed,next-hop-failed,sender-rewritten notes="next hop failed at connect`) {
		t.Error(line)
	}
}
