package check

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"postmend/filter/authn"
	"postmend/postfix/setup"
)

// published is what DNS says of us.
type published struct {
	*own
	hostname         string // what we greet with
	isAtHostname     bool   // the addresses that mail leaves from are known by the hostname alone
	addresses        []address
	named            []net.IPAddr   // the hostname's addresses in DNS
	outbound         []netip.Prefix // where mail leaves from
	outboundErr      error          // why there may be more of it
	outboundMain     []string       // what main.cf tells of it
	hostErr          error          // the hostname's addresses could not be found out
	relayhost        string         // where mail leaves through; "" if directly
	srs              sender         // of forwarded mail
	helo             sender         // of bounces: the hostname
	bouncesAreSigned bool
	mx               []*net.MX
	mxErr            error
	mxHere           map[string]bool // by name of the exchange: it leads to one of our addresses
	mxUnknown        error           // why an exchange that is not in mxHere may lead here, too
	keys             []publishedKey
	dmarc            []publishedPolicy
}

// address is one of this host.
type address struct {
	ip        net.IP
	names     []string
	ptrErr    error
	confirmed string // the name that leads back to the address
	unknown   error  // why another name may lead back, too
}

type publishedKey struct {
	ownKey
	texts []string
	err   error
}

type publishedPolicy struct {
	domain string
	texts  []string // of its _dmarc name
	result authn.DMARC
}

// gatherDNS asks everything side by side. Host is nil if Postfix could not be read.
func gatherDNS(ctx context.Context, o *own, host *host) *published {
	p := &published{own: o, hostname: o.config.Hostname, mxHere: map[string]bool{}}
	if setup.IsFullName(strings.ToLower(o.myhostname)) { // else it is a fault of its own
		p.hostname = o.myhostname
	}
	p.srs.domain, p.helo.domain = strings.ToLower(o.config.SRS.Domain), p.hostname
	p.bouncesAreSigned = bouncesAreSigned(o, host)
	resolver := authn.New(o.config.Resolver)
	var ips []net.IP
	if host != nil {
		ips = host.Addresses()
		p.isAtHostname = len(ips) == 0 && len(o.config.OutboundAddresses) == 0
		p.relayhost, p.outboundMain = host.Main("relayhost"), setup.Outbound(host.Main)
	}
	named, err := resolver.LookupIPAddr(ctx, p.hostname)
	p.named, p.hostErr = named, err
	for _, a := range named {
		if !a.IP.IsLoopback() && !slices.ContainsFunc(ips, a.IP.Equal) {
			ips = append(ips, a.IP)
		}
	}
	p.addresses = make([]address, len(ips))

	var asking sync.WaitGroup
	for i, ip := range ips {
		p.addresses[i].ip = ip
		asking.Go(func() { p.addresses[i].ask(ctx, resolver) })
	}
	asking.Go(func() {
		p.findOutbound(ctx, resolver, ips)
		asking.Go(func() { p.srs.ask(ctx, resolver, p.hostname, p.outbound) })
		asking.Go(func() { p.helo.ask(ctx, resolver, p.hostname, p.outbound) })
	})
	if p.srs.domain != "" {
		asking.Go(func() { p.askMX(ctx, resolver, ips) })
	}
	p.keys = make([]publishedKey, len(o.keys))
	for i, k := range o.keys {
		p.keys[i].ownKey = k
		if k.key != nil {
			asking.Go(func() { p.keys[i].texts, p.keys[i].err = resolver.LookupTXT(ctx, k.key.RecordName()) })
		}
	}
	for _, k := range o.keys {
		if !slices.ContainsFunc(p.dmarc, func(d publishedPolicy) bool { return d.domain == k.Domain }) {
			p.dmarc = append(p.dmarc, publishedPolicy{domain: k.Domain})
		}
	}
	for i := range p.dmarc {
		d := &p.dmarc[i]
		asking.Go(func() { d.texts, _ = resolver.LookupTXT(ctx, "_dmarc."+d.domain) })
		asking.Go(func() {
			d.result = authn.EvaluateDMARC(ctx, resolver, []string{d.domain}, authn.SPF{},
				nil)
		})
	}
	asking.Wait()
	return p
}

// ask asks for the names of the address, and whether one leads back to it.
func (a *address) ask(ctx context.Context, resolver *authn.Resolver) {
	a.names, a.ptrErr = resolver.LookupAddr(ctx, a.ip.String())
	for _, name := range a.names {
		found, err := resolver.LookupIPAddr(ctx, name)
		if isUnknown(err) {
			a.unknown = err
		}
		if slices.ContainsFunc(found, func(f net.IPAddr) bool { return f.IP.Equal(a.ip) }) {
			a.confirmed = strings.TrimSuffix(name, ".")
		}
	}
}

// askMX asks for the exchanges of the SRS domain, and whether they lead to ips, the addresses of this host.
func (p *published) askMX(ctx context.Context, resolver *authn.Resolver, ips []net.IP) {
	p.mx, p.mxErr = resolver.LookupMX(ctx, p.srs.domain)
	for _, mx := range p.mx {
		name := strings.ToLower(strings.TrimSuffix(mx.Host, "."))
		found, err := resolver.LookupIPAddr(ctx, mx.Host)
		if isUnknown(err) {
			p.mxUnknown = err
		}
		p.mxHere[mx.Host] = name == p.hostname || slices.ContainsFunc(found,
			func(f net.IPAddr) bool { return slices.ContainsFunc(ips, f.IP.Equal) })
	}
}
