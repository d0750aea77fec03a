package authn

import (
	"context"
	"strings"

	"postmend/filter/authn/spf"
)

// SPF is the result for the MAIL FROM identity (RFC 7208 section 2.4), the only one that counts for DMARC.
type SPF struct {
	Status   Status `json:"status"`
	Identity string `json:"identity"`         // "mailfrom", or "helo" for the null sender, whose identity is postmaster@ the HELO name
	Domain   string `json:"domain,omitempty"` // the identity's, in lower case; "" if it has none that can be checked
	Reason   string `json:"reason,omitempty"` // why, in a few printable words; may be ""
}

func checkSPF(ctx context.Context, r *Resolver, req Request) SPF {
	local, domain, identity := spfIdentity(req.HELO, req.Sender)
	domain = canonical(domain)
	if !strings.Contains(domain, ".") { // RFC 7208 section 4.3
		domain = ""
	}
	found := spf.Check(ctx, r, spf.Query{IP: req.ClientIP, HELO: req.HELO, Local: local, Domain: domain, Refused: ErrTooManyLookups})
	return SPF{Status: Status(found.Status), Identity: identity, Domain: domain, Reason: found.Reason}
}

// spfIdentity finds what is checked. The local part is "" where RFC 7208 section 4.3 makes it postmaster.
func spfIdentity(helo, sender string) (local, domain, identity string) {
	if sender == "" || sender == "<>" {
		return "", helo, "helo"
	}
	at := strings.LastIndexByte(sender, '@')
	if at < 0 {
		return "", "", "mailfrom"
	}
	return sender[:at], sender[at+1:], "mailfrom"
}
