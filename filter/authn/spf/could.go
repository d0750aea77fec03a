package spf

import (
	"context"
	"net/netip"
)

const (
	// maxLenientTerms is how many terms that look something up a lenient receiver is taken to follow; RFC
	// 7208 allows ten, rspamd 30.
	maxLenientTerms = 40
	// maxTried bounds the addresses of a network that are tried: a record of 64 KB can name thousands.
	maxTried = 500
)

// CouldPass tells whether a receiver could find that the domain allows any address of a network to send:
// the worst case for whoever must not give a message a pass that it did not have. So the limits of section
// 4.6.4, which not all receivers keep, do not count, up to 40 terms.
//
// Pass means that it could; it is also the result for a network of several addresses if a record looks
// something up by the address (ptr, macros), or names hundreds of networks within it. TempError means that
// DNS did not tell. Any other status means no. The network's addresses are not tried one by one: an address
// matters only if it is where a network begins, or ends, that a record names. q.IP is ignored.
func CouldPass(ctx context.Context, r Resolver, q Query, network netip.Prefix) Result {
	network = network.Masked()
	found := Result{None, "no address"}
	tried := map[netip.Addr]bool{}
	for todo := []netip.Addr{network.Addr()}; len(todo) > 0; {
		q.IP, todo = todo[len(todo)-1], todo[:len(todo)-1]
		if tried[q.IP] || !network.Contains(q.IP) {
			continue
		}
		if tried[q.IP] = true; len(tried) > maxTried {
			return Result{Pass, "too many networks to try them all"}
		}
		e := newEvaluation(ctx, r, q)
		e.lenient = true
		result := e.checkHost(e.Domain)
		switch {
		case result.Status == Pass:
			return result
		case e.byAddress && !network.IsSingleIP():
			return Result{Pass, "what the domain says depends on the address"}
		case found.Status != TempError:
			found = result
		}
		for _, other := range e.compared {
			if other = other.Masked(); other.Bits() > network.Bits() && network.Contains(other.Addr()) {
				todo = append(todo, other.Addr(), last(other).Next())
			}
		}
	}
	return found
}

// last is the last address of a network.
func last(network netip.Prefix) netip.Addr {
	octets := network.Addr().AsSlice()
	for bit := network.Bits(); bit < 8*len(octets); bit++ {
		octets[bit/8] |= 0x80 >> (bit % 8)
	}
	address, _ := netip.AddrFromSlice(octets)
	return address
}
