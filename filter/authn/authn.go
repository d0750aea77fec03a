// Package authn tells what an arriving message proves about who sent it: SPF (RFC 7208), DKIM (RFC 6376), ARC (RFC 8617) and DMARC (RFC 9989,
// beside RFC 7489's public suffix method), and reads and writes what others should know of it, Authentication-Results (RFC 8601).
//
// Check does it all, side by side, under one deadline. A bad result is not an error: no function here has one to return except the
// parser, and what could not be found out is the result temperror. What to do about a result is the caller's concern.
package authn

import (
	"strings"

	"golang.org/x/net/idna"
)

// Status is a result in RFC 8601's words. The zero value means: not checked.
type Status string

// The results of RFC 8601 section 2.7; DKIM has policy as well, see dkim.Policy. Only TempError may change when the same message is checked again later.
const (
	None      Status = "none"      // nothing to check: no signature, no record, nobody to ask
	Neutral   Status = "neutral"   // the domain makes no claim (SPF), or the signature could not be processed (DKIM)
	Pass      Status = "pass"      // proved
	Fail      Status = "fail"      // checked, and not proved
	SoftFail  Status = "softfail"  // SPF: probably not authorised
	TempError Status = "temperror" // DNS did not answer, or not in time
	PermError Status = "permerror" // a record or the message is broken; trying again does not help
)

// canonical gives a domain as domains are compared: A-labels (RFC 5890) in lower case, without final dot. It is "" if s is none.
func canonical(s string) string {
	s = strings.TrimSuffix(s, ".")
	for i := range len(s) {
		if s[i] >= 0x80 {
			ascii, err := idna.Lookup.ToASCII(s)
			if err != nil {
				return ""
			}
			s = ascii
			break
		}
	}
	s = strings.ToLower(s)
	if !isDomain(s) {
		return ""
	}
	return s
}

// isDomain takes labels of letters, digits, hyphens and underscores, in lower case. A single label is a domain too.
func isDomain(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// within tells whether a canonical domain is another one or below it.
func within(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}

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
