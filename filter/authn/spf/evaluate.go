package spf

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
)

// The limits of section 4.6.4.
const (
	maxTerms = 10 // with look-ups
	maxVoid  = 2  // void look-ups
	maxMX    = 10 // names of an mx
	maxPTR   = 10 // names of the client
)

const (
	noAnswer       = problem("DNS did not answer") // temperror; a cause would name our DNS server
	tooManyLookups = problem("too many look-ups")
)

// evaluation is the state of one call of Check.
type evaluation struct {
	Query
	ctx          context.Context
	resolver     Resolver
	network      string // ip4 or ip6, as the client's address
	otherNetwork string

	terms    int      // with look-ups, so far
	void     []string // void look-ups: the name if it had no address, otherwise ""
	expanded int      // octets of expanded macros

	whole     bool // macros keep all parts, whatever number they give, see CouldPass
	byAddress bool // a macro needed the client's address

	names     []string // of the client; the first few
	hasNames  bool     // they were looked up
	confirmed [maxPTR]confirmation
}

// confirmation is whether a name has the client's address.
type confirmation uint8

const (
	notAsked confirmation = iota
	yes
	no
)

// checkHost is check_host() of section 4, for the identity's domain and for included and redirected ones.
func (e *evaluation) checkHost(domain string) Result {
	if !isName(domain) || strings.IndexByte(domain, '.') < 0 { // section 4.3
		return Result{Status: None, Reason: "no domain name to check"}
	}
	texts, err := e.resolver.LookupTXT(e.ctx, domain)
	if err = e.failure(err); err != nil {
		return resultOf(err)
	}
	text, count := pick(texts)
	switch {
	case count == 0:
		return Result{Status: None, Reason: "no SPF record"}
	case count > 1:
		return resultOf(problem("several SPF records"))
	}
	r, err := parseRecord(text)
	if err != nil {
		result := resultOf(err)
		if bad, isTerm := err.(*badTerm); isTerm {
			result.Term, result.At = bad.term, domain
		}
		return result
	}
	result, err := e.evaluate(r, domain)
	if err != nil {
		return resultOf(err)
	}
	return result
}

func resultOf(err error) Result {
	if err == noAnswer {
		return Result{Status: TempError, Reason: err.Error()}
	}
	if inner, isIncluded := err.(*included); isIncluded {
		return inner.Result
	}
	return Result{Status: PermError, Reason: err.Error()}
}

// failure is nil if DNS answered, even if there is no record (section 2.6.6).
func (e *evaluation) failure(err error) error {
	if err == nil {
		return nil
	}
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return nil
	case e.Refused != nil && errors.Is(err, e.Refused):
		return tooManyLookups
	}
	return noAnswer
}

// evaluate goes through the mechanisms until one matches (section 4.6.2), and then follows redirect=
// (section 6.1).
func (e *evaluation) evaluate(r record, domain string) (Result, error) {
	for field := range strings.SplitSeq(r.terms, " ") {
		if _, _, isModifier := cutModifier(field); isModifier || field == "" {
			continue
		}
		d, err := parseDirective(field)
		if err != nil {
			return Result{}, err
		}
		matches, err := e.matches(d, domain)
		if err != nil {
			return Result{}, err
		}
		if matches {
			return Result{Status: d.result, Reason: matchReasons[d.mechanism]}, nil
		}
	}
	if r.redirect == "" {
		return Result{Status: Neutral, Reason: "nothing matched"}, nil // section 4.7
	}
	target, err := e.target(r.redirect, domain)
	if err != nil {
		return Result{}, err
	}
	result := e.checkHost(target)
	if result.Status == None {
		return Result{}, problem("redirect= to a domain without SPF record")
	}
	return result, nil
}

// target gives the name that a term looks up (section 4.8), and counts the term.
func (e *evaluation) target(spec, domain string) (string, error) {
	if err := e.countTerm(); err != nil {
		return "", err
	}
	if spec == "" {
		return domain, nil
	}
	return e.expand(spec, domain)
}

// countTerm counts a term with a look-up.
func (e *evaluation) countTerm() error {
	e.terms++
	if e.terms > maxTerms {
		return tooManyLookups
	}
	return nil
}

func (e *evaluation) matches(d directive, domain string) (bool, error) {
	switch d.mechanism {
	case all:
		return true, nil
	case ip4, ip6:
		return d.prefix.Contains(e.IP), nil
	}
	target, err := e.target(d.spec, domain)
	if err != nil {
		return false, err
	}
	switch d.mechanism {
	case include:
		return e.includes(target)
	case a:
		return e.matchesA(d, target)
	case mx:
		return e.matchesMX(d, target)
	case ptr:
		return e.matchesPTR(target)
	}
	return e.exists(target)
}

// includes is section 5.2's table.
func (e *evaluation) includes(target string) (bool, error) {
	switch result := e.checkHost(target); result.Status {
	case Pass:
		return true, nil
	case TempError:
		return false, noAnswer
	case PermError:
		return false, &included{result}
	case None:
		return false, problem("include of a domain without SPF record")
	}
	return false, nil
}

// matchesA is section 5.3.
func (e *evaluation) matchesA(d directive, target string) (bool, error) {
	addresses, err := e.addresses(e.network, target)
	if err != nil {
		return false, err
	}
	if len(addresses) == 0 {
		return false, e.countVoid(target)
	}
	return e.isIn(addresses, d), nil
}

// matchesMX is section 5.4. There can be records as well as an error, if others are malformed.
func (e *evaluation) matchesMX(d directive, target string) (bool, error) {
	var exchanges []*net.MX
	if isName(target) {
		var err error
		exchanges, err = e.resolver.LookupMX(e.ctx, target)
		if err = e.failure(err); err != nil && len(exchanges) == 0 {
			return false, err
		}
	}
	switch {
	case len(exchanges) == 0:
		return false, e.countVoid("")
	case len(exchanges) > maxMX:
		return false, problem("too many MX records")
	}
	for _, exchange := range exchanges {
		addresses, err := e.addresses(e.network, strings.TrimSuffix(exchange.Host, "."))
		if err != nil {
			return false, err
		}
		if e.isIn(addresses, d) {
			return true, nil
		}
	}
	return false, nil
}

// exists is section 5.7: it looks up an A record, even if the client's address is IPv6.
func (e *evaluation) exists(target string) (bool, error) {
	addresses, err := e.addresses("ip4", target)
	if err != nil {
		return false, err
	}
	if len(addresses) == 0 {
		return false, e.countVoid("")
	}
	return true, nil
}

// addresses are none if the name is not valid: the null MX of RFC 7505, or a case that section 4.8 leaves
// open.
func (e *evaluation) addresses(network, name string) ([]netip.Addr, error) {
	if !isName(name) {
		return nil, nil
	}
	addresses, err := e.resolver.LookupNetIP(e.ctx, network, name)
	return addresses, e.failure(err)
}

func (e *evaluation) isIn(addresses []netip.Addr, d directive) bool {
	for _, address := range addresses {
		bits := d.bits6
		if e.IP.Is4() {
			address, bits = address.Unmap(), d.bits4 // Go's resolver gives IPv4 addresses in either form
		}
		if netip.PrefixFrom(address, bits).Contains(e.IP) {
			return true
		}
	}
	return false
}

// countVoid counts a void look-up, see the package comment. Addresses of the other family are looked up only
// when it matters.
func (e *evaluation) countVoid(name string) error {
	e.void = append(e.void, name)
	if len(e.void) <= maxVoid {
		return nil
	}
	still := e.void[:0]
	for _, name := range e.void {
		others, err := e.addresses(e.otherNetwork, name)
		if err != nil {
			return err
		}
		if len(others) == 0 {
			still = append(still, name)
		}
	}
	if e.void = still; len(still) > maxVoid {
		return problem("too many void look-ups")
	}
	return nil
}
