package spf

import (
	"context"
	"net/netip"
	"slices"
	"strings"
)

// maxFollowed bounds the terms with look-ups that are followed; RFC 7208 allows ten, rspamd follows 30.
const maxFollowed = 40

// CouldPass tells whether SPF could pass at any receiver for any address of a network. This is the worst
// case, for a forwarder that must not give a message a pass that it did not arrive with.
//
// Pass means that it could, Fail that it could not, and TempError that DNS did not tell. Receivers differ on
// records that do not follow RFC 7208, and some on those that do. So this is not check_host(): a record is a
// set of terms, and the result is Fail only if no term with a pass matches the network. The order of terms,
// several records, errors in other terms and the limits of section 4.6.4 do not count. Included and
// redirected records count whatever the qualifier. A term that cannot be parsed matches every address and
// name in it. So a broken record that does not name the network still gives Fail. q.IP is ignored.
func CouldPass(ctx context.Context, r Resolver, q Query, network netip.Prefix) Result {
	q.IP = network.Masked().Addr()
	x := reach{evaluation: newEvaluation(ctx, r, q), ours: network, read: map[string]bool{}}
	switch {
	case x.domain(x.Domain):
		return Result{Status: Pass, Reason: "a term could match"}
	case x.silent:
		return Result{Status: TempError, Reason: noAnswer.Error()}
	}
	return Result{Status: Fail, Reason: "no term matches"}
}

// reach looks for a term that could give a network a pass. Its methods return true if there is one.
type reach struct {
	*evaluation
	ours     netip.Prefix
	read     map[string]bool // domains
	followed int             // terms that look something up
	silent   bool            // DNS did not answer for one
}

// domain examines everything that could be an SPF record of a domain, once.
func (x *reach) domain(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !isName(name) || x.read[name] {
		return false
	}
	x.read[name] = true
	texts, err := x.resolver.LookupTXT(x.ctx, name)
	if x.failed(err) {
		return false
	}
	for _, text := range texts {
		if strings.Contains(strings.ToLower(text), "spf") && x.record(text, name) {
			return true
		}
	}
	return false
}

// failed tells whether a look-up did not answer.
func (x *reach) failed(err error) bool {
	err = x.failure(err)
	x.silent = x.silent || err != nil
	return err != nil
}

func (x *reach) record(text, domain string) bool {
	text = strings.TrimSpace(text)
	if len(text) >= len(version) && strings.EqualFold(text[:len(version)], version) {
		text = text[len(version):] // rspamd does not require a space after it
	}
	for field := range strings.FieldsSeq(text) {
		if x.term(field, domain) {
			return true
		}
	}
	return false
}

func (x *reach) term(field, domain string) bool {
	if name, value, ok := cutModifier(field); ok {
		switch {
		case strings.EqualFold(name, "redirect") && checkDomainSpec(value) == nil:
			return x.follow(value, domain)
		case !beginsLikeTerm(name):
			return false
		}
	} else if d, err := parseDirective(field); err == nil {
		isHosts := d.mechanism == a || d.mechanism == mx
		return isHosts && d.result == Pass && x.lacksLength(field) || x.directive(d, domain)
	}
	return x.odd(field, domain)
}

func (x *reach) directive(d directive, domain string) bool {
	switch {
	case d.mechanism == include: // in rspamd, the included terms count by their own qualifiers
		return x.follow(d.spec, domain)
	case d.result != Pass:
		return false
	case d.mechanism == all:
		return true
	case d.mechanism == ip4 || d.mechanism == ip6:
		return x.covers(d.prefix)
	}
	names, ok := x.names(d.spec, domain)
	if !ok {
		return true
	}
	for _, name := range names {
		switch d.mechanism {
		case a:
			ok = x.hosts(name, d)
		case mx:
			ok = x.exchanges(name, d)
		case ptr:
			ok = x.client(name)
		case exists:
			addresses, err := x.addresses("ip4", name)
			ok = !x.failed(err) && len(addresses) > 0
		}
		if ok {
			return true
		}
	}
	return false
}

// lacksLength tells whether a term has a prefix length for the other family only. rspamd then takes 0 for
// ours, so that every address matches.
func (x *reach) lacksLength(term string) bool {
	before, _, hasLength6 := strings.Cut(term, "//")
	hasLength4 := strings.IndexByte(before, '/') >= 0
	return hasLength4 != hasLength6 && hasLength4 == x.ours.Addr().Is6()
}

// follow examines the records that are included or redirected to.
func (x *reach) follow(spec, domain string) bool {
	names, ok := x.names(spec, domain)
	if !ok {
		return true
	}
	for _, name := range names {
		if x.domain(name) {
			return true
		}
	}
	return false
}

// names are the possible expansions of a domain-spec: for %{d}, mailauth uses the sender's domain even within
// an include; for %{d2}, rspamd uses the whole domain. It is false if the names cannot be known, because a
// macro needs the client's name or address, or is expanded by every program in its own way.
func (x *reach) names(spec, domain string) (names []string, ok bool) {
	if x.followed++; x.followed > maxFollowed {
		return nil, false
	}
	switch {
	case spec == "":
		return []string{domain}, true
	case strings.Contains(strings.ToLower(spec), "%{p"), isDisputed(spec):
		return nil, false
	}
	for _, x.whole = range []bool{false, true} {
		for _, current := range []string{domain, x.Domain} {
			name, err := x.expand(strings.TrimLeft(spec, "."), current) // a dot in front, as rspamd reads it
			if err != nil || x.byAddress && !x.ours.IsSingleIP() {
				return nil, false
			}
			if strings.IndexByte(spec, '%') < 0 {
				return []string{name}, true
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, true
}

// isDisputed finds macros that Mail::SPF, libspf2 and mailauth do not expand as RFC 7208 section 7.3 does:
// capital letters, which have to be escaped; delimiters; more than one digit, and any after v; %%, %_ and %-.
func isDisputed(spec string) bool {
	for {
		start := strings.IndexByte(spec, '%')
		if start < 0 {
			return false
		}
		m, length := parseMacro(spec[start:])
		switch {
		case m.letter == 0, m.escape, m.split != 0, m.keep > 9, m.keep > 0 && m.letter == 'v':
			return true
		}
		spec = spec[start+length:]
	}
}

// covers tells whether a term's network and ours have an address in common.
func (x *reach) covers(network netip.Prefix) bool {
	if ip := network.Addr(); ip.Is4In6() && network.Bits() >= 96 {
		network = netip.PrefixFrom(ip.Unmap(), network.Bits()-96)
	}
	return network.Overlaps(x.ours)
}

func (x *reach) hosts(name string, d directive) bool {
	addresses, err := x.addresses(x.network, name)
	if x.failed(err) {
		return false
	}
	for _, address := range addresses {
		address = address.Unmap()
		bits := d.bits4
		if address.Is6() {
			bits = min(d.bits6, 64) // rspamd's default is 64
		}
		if x.covers(netip.PrefixFrom(address, bits)) {
			return true
		}
	}
	return false
}

func (x *reach) exchanges(name string, d directive) bool {
	if !isName(name) {
		return false
	}
	exchanges, err := x.resolver.LookupMX(x.ctx, name)
	x.failed(err)
	for _, exchange := range exchanges {
		if x.hosts(strings.TrimSuffix(exchange.Host, "."), d) {
			return true
		}
	}
	return false
}

// client tells whether the client's name is the domain or below it. The name is not confirmed.
func (x *reach) client(domain string) bool {
	if !x.ours.IsSingleIP() {
		return true
	}
	names, err := x.resolver.LookupAddr(x.ctx, x.IP.String())
	x.failed(err)
	for _, name := range names {
		if isWithin(strings.TrimSuffix(name, "."), domain) {
			return true
		}
	}
	return false
}
