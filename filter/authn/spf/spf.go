// Package spf evaluates SPF (RFC 7208): whether a domain allows an address to send mail in its name.
//
// It is complete except for explanations: the syntax of exp= is checked, but its text is never fetched. The
// caller decides which identity to check, and what to do about the result. The package does nothing when a
// program starts, because postmend starts once for each message. Time and memory are linear in what DNS
// answers.
//
// Where RFC 7208 leaves a choice:
//   - Names that are not valid in DNS, such as a..example.com, are not looked up: they do not match, as if
//     they did not exist (section 4.8).
//   - An a mechanism whose name has addresses, but none of the client's family, does not count as a void
//     look-up (section 4.6.4, a SHOULD), nor does an MX or PTR name. Otherwise a record that names three IPv4
//     hosts would be a permerror for every IPv6 client.
//   - More than ten MX records are a permerror even if one of the first ten would match, because the domain
//     cannot choose their order.
package spf

import (
	"context"
	"net"
	"net/netip"
	"strings"
)

// Status is a result in RFC 8601's words.
type Status string

// The results of RFC 7208 section 2.6. Only TempError may change when the same is checked again later.
const (
	None      Status = "none"      // no domain name, no record, or no address to check
	Neutral   Status = "neutral"   // the domain makes no claim about the address
	Pass      Status = "pass"      // the domain allows it
	Fail      Status = "fail"      // the domain says that it is not allowed
	SoftFail  Status = "softfail"  // the domain says that it is probably not allowed
	TempError Status = "temperror" // DNS did not answer
	PermError Status = "permerror" // a record is broken or asks for too much
)

// Result is what Check finds.
type Result struct {
	Status Status
	Reason string // why, in words of ours: nothing in it comes from records, DNS servers or the client

	// Of a PermError for a term that is not valid: that term, in printable ASCII, and the domain whose record
	// has it. Both are the text of strangers, so they belong into no header field.
	Term, At string
}

// Query is what is to be checked.
type Query struct {
	IP     netip.Addr // of the SMTP client; the zero value is unknown, and the result None
	HELO   string     // the name it gave, for macros
	Local  string     // of the identity, before its @; "" means postmaster (section 4.3)
	Domain string     // of the identity; internationalised ones in A-labels

	// Refused is what the resolver's errors wrap if they refuse a look-up because there were too many. The
	// result is PermError, because the next try would need as many. May be nil.
	Refused error
}

// Resolver asks DNS, by methods that *net.Resolver has as well. Names are absolute, without a final dot.
//
// A *net.DNSError with IsNotFound, wrapped or not, means that there is no such record. Any other error but
// Query.Refused is temporary (RFC 7208 section 2.6.6), whatever its Temporary method says.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) // network is ip4 or ip6
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// Check evaluates check_host() of RFC 7208 section 4. If the resolver returns when ctx ends, so does Check.
func Check(ctx context.Context, r Resolver, q Query) Result {
	if !q.IP.IsValid() {
		return Result{Status: None, Reason: "client address not known"}
	}
	e := newEvaluation(ctx, r, q)
	return e.checkHost(e.Domain)
}

func newEvaluation(ctx context.Context, r Resolver, q Query) *evaluation {
	e := &evaluation{Query: q, ctx: ctx, resolver: r, network: "ip4", otherNetwork: "ip6"}
	e.IP = q.IP.Unmap().WithZone("") // section 5: an IPv4-mapped address is an IPv4 address
	e.Domain = strings.TrimSuffix(q.Domain, ".")
	if e.Local == "" {
		e.Local = "postmaster"
	}
	if e.IP.Is6() {
		e.network, e.otherNetwork = "ip6", "ip4"
	}
	return e
}

// isName tells whether a name has a length that DNS allows (RFC 1035 section 2.3.4), whatever its octets. It
// has no final dot.
func isName(s string) bool {
	if len(s) > maxName {
		return false
	}
	label := 0
	for i := range len(s) {
		if s[i] != '.' {
			label++
			continue
		}
		if label == 0 || label > 63 {
			return false
		}
		label = 0
	}
	return label > 0 && label <= 63
}

// isWithin tells whether a name is the domain or below it.
func isWithin(name, domain string) bool {
	above := len(name) - len(domain)
	return above >= 0 && strings.EqualFold(name[above:], domain) && (above == 0 || name[above-1] == '.')
}
