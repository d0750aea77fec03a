package authn

import (
	"context"
	"errors"
	"strings"

	"blitiri.com.ar/go/spf"
)

// SPF is the result for the MAIL FROM identity (RFC 7208 section 2.4), the only one that counts for DMARC.
type SPF struct {
	Status   Status `json:"status"`
	Identity string `json:"identity"`         // "mailfrom", or "helo" for the null sender, whose identity is postmaster@ the HELO name
	Domain   string `json:"domain,omitempty"` // the identity's, in lower case; "" if it has none that can be checked
	Reason   string `json:"reason,omitempty"` // why, in a few printable words; may be ""
}

// checkSPF leaves the limits of RFC 7208 section 4.6.4 to the library.
func checkSPF(ctx context.Context, r *Resolver, req Request) SPF {
	local, domain, identity := spfIdentity(req.HELO, req.Sender)
	result := SPF{Status: None, Identity: identity, Domain: canonical(domain)}
	switch {
	case !req.ClientIP.IsValid():
		result.Reason = "client address not known"
		return result
	case !strings.Contains(result.Domain, "."): // RFC 7208 section 4.3
		result.Domain, result.Reason = "", "no domain name to check"
		return result
	}
	client := req.ClientIP.Unmap().WithZone("")
	status, err := spf.CheckHostWithSender(client.AsSlice(), printable(req.HELO, 255), local+"@"+result.Domain,
		spf.WithContext(ctx), spf.WithResolver(r))
	result.Status = Status(status)
	if errors.Is(err, ErrTooManyLookups) {
		result.Status = PermError // the library takes any failure of a, mx or exists for a temporary one
	}
	switch {
	case result.Status == TempError:
		result.Reason = "DNS did not answer" // the error names the server that was asked, which is nobody's business
	case err != nil:
		result.Reason = printable(err.Error(), 100)
	}
	return result
}

// spfIdentity finds what is checked. The local part only matters to macros; the library cuts at the first @, so none is left in it.
func spfIdentity(helo, sender string) (local, domain, identity string) {
	at := strings.LastIndexByte(sender, '@')
	switch {
	case sender == "" || sender == "<>":
		return "postmaster", helo, "helo"
	case at < 0:
		return "", "", "mailfrom"
	case at == 0: // RFC 7208 section 4.3
		return "postmaster", sender[1:], "mailfrom"
	}
	return strings.ReplaceAll(sender[:at], "@", "="), sender[at+1:], "mailfrom"
}
