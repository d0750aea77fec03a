package authn

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"

	"postmend/filter/authn/dns"
)

// ErrTooManyLookups is wrapped by the error of a look-up beyond the limit. It is not temporary: the next try
// would need as many.
var ErrTooManyLookups = errors.New("the message requires too many DNS look-ups")

// maxLookups bounds what one message may ask. It is above what the parts may ask by their own limits: SPF 111
// (RFC 7208 section 4.6.4: ten terms, each with up to eleven look-ups), DMARC 8 for each author domain,
// aligned signature and SPF domain, DKIM one a signature, ARC 100. So none of them can use up the look-ups of
// another, and an expensive SPF record cannot hide the policy of a forged domain.
const maxLookups = 500

// Resolver asks DNS for one message, and never the hosts file: each question only once, and only for absolute
// names. It is safe for concurrent use.
//
// An error of its look-ups is a *net.DNSError; IsNotFound means that the record does not exist, which is
// final. Any other error is temporary, except one that wraps ErrTooManyLookups.
type Resolver struct {
	dns *dns.Client

	mu    sync.Mutex
	asked map[question]*answer
	count int
}

type question struct {
	kind dnsmessage.Type
	name string
}

type answer struct {
	done      chan struct{} // closed when the rest is there
	records   []dnsmessage.ResourceBody
	err       error
	abandoned bool // who asked gave up before the answer came
}

// New makes a resolver for one message, which asks the DNS server at addr, "host:port"; "" means those of the
// system.
func New(addr string) *Resolver {
	return &Resolver{dns: dns.New(addr), asked: map[question]*answer{}}
}

// LookupTXT gives the TXT records of a name, the strings of each joined.
func (r *Resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a := r.ask(ctx, dnsmessage.TypeTXT, name)
	var texts []string
	for _, record := range a.records {
		if text, ok := record.(*dnsmessage.TXTResource); ok {
			texts = append(texts, strings.Join(text.TXT, ""))
		}
	}
	return texts, a.err
}

// LookupMX gives the MX records of a name, the preferred ones first. Names in them are absolute.
func (r *Resolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a := r.ask(ctx, dnsmessage.TypeMX, name)
	var exchanges []*net.MX
	for _, record := range a.records {
		if mx, ok := record.(*dnsmessage.MXResource); ok {
			exchanges = append(exchanges, &net.MX{Host: mx.MX.String(), Pref: mx.Pref})
		}
	}
	slices.SortStableFunc(exchanges, func(a, b *net.MX) int { return int(a.Pref) - int(b.Pref) })
	return exchanges, a.err
}

// LookupIPAddr gives the A and AAAA records of a name. Beside an error there can be those of one type.
func (r *Resolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	networks := [...]string{"ip4", "ip6"}
	var ips [len(networks)][]netip.Addr
	var errs [len(networks)]error
	var asking sync.WaitGroup
	for i, network := range networks {
		asking.Go(func() { ips[i], errs[i] = r.LookupNetIP(ctx, network, host) })
	}
	asking.Wait()
	var found []net.IPAddr
	var err error
	for i := range networks {
		for _, ip := range ips[i] {
			found = append(found, net.IPAddr{IP: ip.AsSlice()})
		}
		if errs[i] != nil && (err == nil || !isNotFound(errs[i])) {
			err = errs[i]
		}
	}
	if len(found) > 0 && isNotFound(err) {
		err = nil
	}
	return found, err
}

// LookupNetIP gives the A records of a name if network is ip4, its AAAA records if it is ip6.
func (r *Resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	kind := dnsmessage.TypeA
	if network == "ip6" {
		kind = dnsmessage.TypeAAAA
	}
	a := r.ask(ctx, kind, host)
	var ips []netip.Addr
	for _, record := range a.records {
		switch address := record.(type) {
		case *dnsmessage.AResource:
			ips = append(ips, netip.AddrFrom4(address.A))
		case *dnsmessage.AAAAResource:
			if ip := netip.AddrFrom16(address.AAAA); !ip.Is4In6() { // no address of the other family
				ips = append(ips, ip)
			}
		}
	}
	if len(ips) == 0 && a.err == nil {
		return nil, &net.DNSError{Err: "no address of that family", Name: host, IsNotFound: true}
	}
	return ips, a.err
}

// LookupAddr gives the names of an address, absolute.
func (r *Resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: "no address to ask for", Name: addr, IsNotFound: true}
	}
	a := r.ask(ctx, dnsmessage.TypePTR, dns.ReverseName(ip))
	var names []string
	for _, record := range a.records {
		if ptr, ok := record.(*dnsmessage.PTRResource); ok {
			names = append(names, ptr.PTR.String())
		}
	}
	return names, a.err
}

// Exists tells whether a domain exists as DMARC means it: a query for it is not answered with NXDOMAIN
// (RFC 9989 section 3.2.13). It asks for the TXT records, which SPF mostly wants as well.
func (r *Resolver) Exists(ctx context.Context, name string) (bool, error) {
	a := r.ask(ctx, dnsmessage.TypeTXT, name)
	if a.err == nil || isNotFound(a.err) {
		return !errors.Is(a.err, dns.ErrNoSuchName), nil
	}
	return false, a.err
}

// isNotFound tells a final "does not exist" from "could not find out".
func isNotFound(err error) bool {
	var failure *net.DNSError
	return errors.As(err, &failure) && failure.IsNotFound
}

// ask answers from memory, waits for the same question that is in progress, or asks.
func (r *Resolver) ask(ctx context.Context, kind dnsmessage.Type, name string) *answer {
	name = lowerASCII(strings.TrimSuffix(name, "."))
	q := question{kind, name}
	for {
		a, mine := r.begin(q)
		if mine {
			a.records, a.err = r.dns.Lookup(ctx, name, kind)
			r.end(ctx, q, a)
			return a
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			select {
			case <-a.done: // what is known stays known after the deadline
			default:
				return &answer{err: &net.DNSError{Err: ctx.Err().Error(), UnwrapErr: ctx.Err(), Name: name,
					IsTemporary: true}}
			}
		}
		if !a.abandoned || ctx.Err() != nil {
			return a
		}
	}
}

// lowerASCII leaves octets over 127 as they are, because DNS does not treat them as letters (RFC 4343).
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// begin finds the answer to a question, or makes an entry for it; the caller then has to ask, and to call
// end.
func (r *Resolver) begin(q question) (a *answer, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.asked[q]; a != nil {
		return a, false
	}
	a = &answer{done: make(chan struct{})}
	if r.count >= maxLookups {
		a.err = &net.DNSError{Err: ErrTooManyLookups.Error(), UnwrapErr: ErrTooManyLookups, Name: q.name}
		close(a.done)
		return a, false
	}
	r.count++
	r.asked[q] = a
	return a, true
}

func (r *Resolver) end(ctx context.Context, q question, a *answer) {
	a.abandoned = a.err != nil && !isNotFound(a.err) && ctx.Err() != nil
	if a.abandoned { // one with more time may ask again
		r.mu.Lock()
		delete(r.asked, q)
		r.mu.Unlock()
	}
	close(a.done)
}
