package filter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"postmend/filter/authn"
	"postmend/filter/cause"
	"postmend/filter/plan"
)

// askTransit asks SPF about this host and a sender. It has time of its own, as much as all other look-ups
// together, so that a forger's name that never answers cannot use it up. It comes after them, and only if the
// plan depends on it, so ordinary mail does not need it.
//
// The result of SPF can depend on the name in HELO, which may be any of this host's and its relays'.
func (f *Filter) askTransit(
	ctx context.Context, resolver *authn.Resolver, queries []plan.SPFQuery,
) plan.Transit {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(f.config.Limits.DNSDeadline))
	defer cancel()
	bySender := false // it passes, or could, for the sender
	ask := func(network netip.Prefix) (result authn.SPF) {
		for _, query := range queries {
			found := authn.CouldPassSPF(ctx, resolver, network, query.HELO, query.Sender)
			switch found.Status {
			case authn.Pass, authn.TempError:
				bySender = bySender || query.Sender != ""
				result = found
			}
			if found.Status == authn.Pass {
				return found
			}
		}
		return result
	}
	networks, lacking := f.outbound.Resolve(ctx, resolver)
	found := plan.Transit{Status: authn.Fail}
	for _, network := range networks {
		switch result := ask(network); {
		case result.Status == authn.Pass && bySender:
			return plan.Transit{Status: authn.Pass}
		case result.Status == authn.Pass:
			found = plan.Transit{Status: authn.Pass}
		case result.Status == authn.TempError && found.Status != authn.Pass:
			silent := cause.DNSTrouble("SPF of " + result.Domain + " for this host")
			found = plan.Transit{Status: authn.TempError, Unknown: silent}
		}
	}
	if lacking != nil {
		// Otherwise the domain allows no host at all, and so not this one.
		for _, everywhere := range [...]string{"0.0.0.0/0", "::/0"} {
			status := ask(netip.MustParsePrefix(everywhere)).Status
			if found.Status != authn.Pass && (status == authn.Pass || status == authn.TempError) {
				found = plan.Transit{Status: authn.TempError, Unknown: homeless(lacking), Ours: true}
			}
		}
	}
	found.OnlyHELO = !bySender
	return found
}

// homeless is the failure if the addresses of this host are unknown.
func homeless(err error) *cause.Failure {
	if _, isDNS := errors.AsType[*net.DNSError](err); isDNS {
		return cause.DNSTrouble("addresses of this host: " + err.Error())
	}
	return cause.AddressesUnknown.Failure(fmt.Errorf("%w: set outbound_addresses", err))
}
