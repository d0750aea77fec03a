package check

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"postmend/filter/authn"
	"postmend/postfix/postconf"
)

// findOutbound finds out where mail leaves from: what outbound_addresses says, or else the addresses of
// this host.
func (p *published) findOutbound(ctx context.Context, resolver *authn.Resolver, ours []net.IP) {
	mail, _ := p.config.Outbound() // config.Load had it, too
	networks, err := mail.Resolve(ctx, resolver)
	p.outboundErr = err
	if len(p.config.OutboundAddresses) > 0 {
		p.outbound = networks
		return
	}
	for _, address := range ours {
		ip, _ := netip.AddrFromSlice(address)
		p.outbound = append(p.outbound, netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()))
	}
}

// nameOf writes an address alone where the network has no other.
func nameOf(network netip.Prefix) string {
	if network.IsSingleIP() {
		return network.Addr().String()
	}
	return network.String()
}

// relayIsUnknown tells whether mail leaves from addresses that nobody has named.
func (p *published) relayIsUnknown() bool {
	return p.relayhost != "" && len(p.config.OutboundAddresses) == 0
}

// judgeOutbound finds where the filter takes other addresses for this host's than those that mail leaves
// from.
func judgeOutbound(p *published) []fault {
	var set *Edit
	if len(p.outboundMain) > 0 {
		set = p.addTo("outbound_addresses", p.outboundMain...)
	}
	configured := len(p.config.OutboundAddresses) > 0
	switch dnsError, isDNS := errors.AsType[*net.DNSError](p.outboundErr); {
	case isDNS:
		return p.unknown(dnsError.Name, p.outboundErr)
	case p.outboundErr != nil && configured:
		return []fault{{What: "outbound_addresses: " + p.outboundErr.Error() +
			": correct the name, or write the addresses"}}
	case configured && p.relayhost != "" && !slices.ContainsFunc(p.config.OutboundAddresses, isHostName):
		return []fault{{What: "mail leaves through relayhost " + p.relayhost +
			": name it in outbound_addresses by the name that it gives in HELO, beside its addresses",
			Severity: Note}}
	case configured:
		return nil
	case p.relayhost != "":
		return []fault{{What: "mail leaves through relayhost " + p.relayhost +
			": name the addresses that it sends from in outbound_addresses", Edit: set}}
	case p.outboundErr != nil:
		return []fault{{What: p.outboundErr.Error() +
			": name the addresses that other hosts see in outbound_addresses", Edit: set}}
	}
	var missing []string
	for _, known := range p.outboundMain {
		ip := net.ParseIP(known)
		if !slices.ContainsFunc(p.named, func(a net.IPAddr) bool { return a.IP.Equal(ip) }) {
			missing = append(missing, known)
		}
	}
	if len(missing) > 0 {
		return []fault{{What: "by main.cf, mail leaves from " + strings.Join(missing, ", ") +
			", but DNS has other addresses for " + p.hostname +
			": name all addresses that mail leaves from in outbound_addresses", Edit: set}}
	}
	return nil
}

// isHostName tells whether an entry of outbound_addresses is a name.
func isHostName(entry string) bool {
	_, noAddress := netip.ParseAddr(entry)
	_, noPrefix := netip.ParsePrefix(entry)
	return noAddress != nil && noPrefix != nil
}

// Addresses are those that mail leaves from or comes to, as far as main.cf names them: smtp_bind_address, or
// else what inet_interfaces and proxy_interfaces name. Loopback does not count.
func (h *host) Addresses() []net.IP {
	var bound, others []net.IP
	add := func(all *[]net.IP, name string) {
		for _, word := range postconf.List(h.Main(name)) {
			if ip := net.ParseIP(strings.Trim(word, "[]")); ip != nil && !ip.IsLoopback() &&
				!ip.IsUnspecified() {
				*all = append(*all, ip)
			}
		}
	}
	add(&bound, "smtp_bind_address")
	add(&bound, "smtp_bind_address6")
	if len(bound) > 0 {
		return bound
	}
	add(&others, "inet_interfaces")
	add(&others, "proxy_interfaces")
	return others
}
