package config

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"postmend/filter/domain"
)

// Outbound is where mail leaves from, as other hosts see it.
type Outbound struct {
	hostname string
	networks []netip.Prefix
	names    []string
}

// Outbound reads outbound_addresses. Without any, they are those of the hostname.
func (c *Config) Outbound() (o Outbound, err error) {
	o.hostname = c.Hostname
	for _, entry := range c.OutboundAddresses {
		network, err := netip.ParsePrefix(entry)
		if ip, noAddress := netip.ParseAddr(entry); noAddress == nil {
			network, err = netip.PrefixFrom(ip.WithZone(""), ip.BitLen()), nil
		}
		switch {
		case err == nil && (network.Addr().Is4In6() || !network.Addr().IsGlobalUnicast()):
			return o, fmt.Errorf("outbound_addresses: %q is not an address that other hosts can see", entry)
		case err == nil:
			o.networks = append(o.networks, network.Masked())
			continue
		}
		name, err := domain.Parse(entry)
		if err != nil || strings.Trim(entry, "0123456789./:") == "" {
			return o, fmt.Errorf("outbound_addresses: %q is not an address, prefix or host name", entry)
		}
		o.names = append(o.names, name)
	}
	if len(c.OutboundAddresses) == 0 {
		o.names = []string{c.Hostname}
	}
	return o, nil
}

// HELONames are the names that other hosts see in HELO: this host's and those of relays.
func (o Outbound) HELONames() []string {
	names := []string{o.hostname}
	for _, name := range o.names {
		if name != o.hostname {
			names = append(names, name)
		}
	}
	return names
}

// Resolve gives the networks, and an error that says why there may be more of them. Addresses that no other
// host can see are no answer. If DNS did not answer, the error is the resolver's.
func (o Outbound) Resolve(ctx context.Context, resolver addressResolver) ([]netip.Prefix, error) {
	type answer struct {
		addresses []netip.Addr
		err       error
	}
	families := [...]string{"ip4", "ip6"}
	answers := make([]answer, len(o.names)*len(families))
	var asking sync.WaitGroup
	for i := range answers {
		asking.Go(func() {
			answers[i].addresses, answers[i].err = resolver.LookupNetIP(ctx, families[i%2], o.names[i/2])
		})
	}
	asking.Wait()
	networks := slices.Clone(o.networks)
	var lacking error
	for i, name := range o.names {
		found := false
		for _, a := range answers[2*i : 2*i+2] {
			for _, ip := range a.addresses {
				if ip = ip.Unmap(); ip.IsGlobalUnicast() && !ip.IsPrivate() {
					networks, found = append(networks, netip.PrefixFrom(ip, ip.BitLen())), true
				}
			}
			if dnsError, ok := errors.AsType[*net.DNSError](a.err); ok && !dnsError.IsNotFound {
				lacking = dnsError
			}
		}
		if !found && lacking == nil {
			lacking = errors.New(name + " has no public address in DNS")
		}
	}
	return networks, lacking
}

// addressResolver is an authn.Resolver.
type addressResolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}
