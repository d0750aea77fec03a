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
)

// transit is what SPF says if this host sends a message on with the sender it came with: a Pass is one that
// the message arrived without.
type transit struct {
	// status is Pass if a receiver could let it pass, TempError if that is not known, anything else if it
	// does not. "" is a question that was not asked.
	status authn.Status
	// unknown is set with TempError: the failure that defers the message while waiting can help.
	unknown *cause.Failure
	// ours is set if the addresses of this host are unknown: the fault is ours, so no mail is rejected for
	// it.
	ours bool
	// onlyHELO is set if it passes, or could, by a name in HELO alone, and the sender does not matter.
	onlyHELO bool
}

// spfQuery is an identity that SPF is asked about; without a sender, it is the name in HELO.
type spfQuery struct{ helo, sender string }

// wantTransit is the failure of a plan that depends on transit before it was looked up. It never leaves the
// package.
var wantTransit = &cause.Failure{Reason: "SPF of this host was not looked up"}

// askTransit asks SPF about this host and a sender. It has time of its own, as much as all other look-ups
// together, so that a forger's name that never answers cannot use it up. It comes after them, and only if the
// plan depends on it, so ordinary mail does not need it.
//
// The result of SPF can depend on the name in HELO, which may be any of this host's and its relays'.
func (f *Filter) askTransit(ctx context.Context, resolver *authn.Resolver, queries []spfQuery) transit {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(f.config.Limits.DNSDeadline))
	defer cancel()
	bySender := false // it passes, or could, for the sender
	ask := func(network netip.Prefix) (result authn.SPF) {
		for _, query := range queries {
			found := authn.CouldPassSPF(ctx, resolver, network, query.helo, query.sender)
			switch found.Status {
			case authn.Pass, authn.TempError:
				bySender = bySender || query.sender != ""
				result = found
			}
			if found.Status == authn.Pass {
				return found
			}
		}
		return result
	}
	networks, lacking := f.outbound.Resolve(ctx, resolver)
	found := transit{status: authn.Fail}
	for _, network := range networks {
		switch result := ask(network); {
		case result.Status == authn.Pass && bySender:
			return transit{status: authn.Pass}
		case result.Status == authn.Pass:
			found = transit{status: authn.Pass}
		case result.Status == authn.TempError && found.status != authn.Pass:
			silent := dnsTrouble("SPF of " + result.Domain + " for this host")
			found = transit{status: authn.TempError, unknown: silent}
		}
	}
	if lacking != nil {
		// Otherwise the domain allows no host at all, and so not this one.
		for _, everywhere := range [...]string{"0.0.0.0/0", "::/0"} {
			status := ask(netip.MustParsePrefix(everywhere)).Status
			if found.status != authn.Pass && (status == authn.Pass || status == authn.TempError) {
				found = transit{status: authn.TempError, unknown: homeless(lacking), ours: true}
			}
		}
	}
	found.onlyHELO = !bySender
	return found
}

// homeless is the failure if the addresses of this host are unknown.
func homeless(err error) *cause.Failure {
	if _, isDNS := errors.AsType[*net.DNSError](err); isDNS {
		return dnsTrouble("addresses of this host: " + err.Error())
	}
	return cause.AddressesUnknown.Failure(fmt.Errorf("%w: set outbound_addresses", err))
}
