// Package authn tells what an arriving message proves about who sent it: SPF (RFC 7208), DKIM (RFC 6376), ARC
// (RFC 8617) and DMARC (RFC 9989, beside RFC 7489's public suffix method), and reads and writes what others
// should know of it, Authentication-Results (RFC 8601).
//
// Check does it all, side by side, under one deadline. A bad result is not an error: no function here has one
// to return except the parser, and what could not be found out is the result temperror. What to do about a
// result is the caller's concern.
package authn

import "strings"

// Status is a result in RFC 8601's words. The zero value means: not checked.
type Status string

// The results of RFC 8601 section 2.7; DKIM has policy as well, see dkim.Policy. Only TempError may change
// when the same message is checked again later.
const (
	None      Status = "none"      // nothing to check: no signature, no record, nobody to ask
	Neutral   Status = "neutral"   // no claim of the domain (SPF), or an unusable signature (DKIM)
	Pass      Status = "pass"      // proved
	Fail      Status = "fail"      // checked, and not proved
	SoftFail  Status = "softfail"  // SPF: probably not authorised
	TempError Status = "temperror" // DNS did not answer, or not in time
	PermError Status = "permerror" // a record or the message is broken; trying again does not help
)

// printable makes text from outside fit for a log line or a field: printable ASCII, at most max octets.
func printable(s string, max int) string {
	if len(s) > max {
		s = s[:max]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
