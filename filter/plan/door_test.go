package plan

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
	msg := Facts{Authors: []string{long + ".one.example", long + ".two.example", "bank.example"}}
	msg.Proven.SPF.Status, msg.Proven.SPF.Domain = "softfail", long+".example"
	for range 6 {
		msg.Proven.DKIM = append(msg.Proven.DKIM, dkim.Verification{Status: "temperror", Domain: long})
	}
	for _, c := range cause.All() {
		f := c.Failure(nil)
		if f.Temporary() {
			continue
		}
		switch c {
		case cause.TooManyClaims:
			f = c.Failure(nil, 100)
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
