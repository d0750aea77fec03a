package authn

import (
	"context"
	"net/netip"
	"strings"

	"postmend/filter/authn/spf"
	"postmend/filter/domain"
)

// SPF is the result for the MAIL FROM identity (RFC 7208 section 2.4), the only one that counts for DMARC.
type SPF struct {
	Status   Status `json:"status"`
	Identity string `json:"identity"`         // "mailfrom"; or "helo", for the null sender
	Domain   string `json:"domain,omitempty"` // the identity's, in lower case; "" if there is no valid one
	Reason   string `json:"reason,omitempty"` // why, in a few printable words; may be ""
	// Of a permerror for a term that is not valid: the term, and the domain whose record has it. They are the
	// text of strangers.
	Term string `json:"term,omitempty"`
	At   string `json:"term_at,omitempty"`
}

func checkSPF(ctx context.Context, r *Resolver, req Request) SPF {
	local, name, identity := spfIdentity(req.HELO, req.Sender)
	if !strings.Contains(name, ".") { // RFC 7208 section 4.3
		name = ""
	}
	found := spf.Check(ctx, r, spf.Query{IP: req.ClientIP, HELO: req.HELO, Local: local, Domain: name,
		Refused: ErrTooManyLookups})
	return SPF{Status: Status(found.Status), Identity: identity, Domain: name, Reason: found.Reason,
		Term: found.Term, At: found.At}
}

// spfIdentity finds what is checked. The local part is "" where RFC 7208 section 4.3 makes it postmaster; the
// domain's name is canonical.
func spfIdentity(helo, sender string) (local, name, identity string) {
	if sender == "" || sender == "<>" {
		return "", domain.Name(helo), "helo"
	}
	at := strings.LastIndexByte(sender, '@')
	if at < 0 {
		return "", "", "mailfrom"
	}
	return sender[:at], domain.Name(sender[at+1:]), "mailfrom"
}

// CouldPassSPF tells whether SPF could pass for a message that any address of a network sends, see
// spf.CouldPass: the worst case, for whoever must not give a message a pass. Pass means that it could,
// TempError that it is not known, and any other status that it could not.
func CouldPassSPF(ctx context.Context, r *Resolver, network netip.Prefix, helo, sender string) SPF {
	local, name, identity := spfIdentity(helo, sender)
	found := spf.CouldPass(ctx, r, spf.Query{HELO: helo, Local: local, Domain: name}, network)
	return SPF{Status: Status(found.Status), Identity: identity, Domain: name, Reason: found.Reason}
}
