package check

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"postmend/filter/authn"
	"postmend/filter/authn/spf"
	"postmend/postfix/setup"
)

// sender is a domain that our mail has for its sender, and what SPF says of it.
type sender struct {
	domain  string // "" for none
	texts   []string
	err     error
	results []spf.Result // one for each of published.outbound; of a network, for its first address
}

// ask asks for the record, and evaluates it for each address.
func (s *sender) ask(ctx context.Context, resolver *authn.Resolver, hostname string,
	outbound []netip.Prefix) {
	if s.domain == "" {
		return
	}
	s.results = make([]spf.Result, len(outbound))
	var asking sync.WaitGroup
	asking.Go(func() { s.texts, s.err = resolver.LookupTXT(ctx, s.domain) })
	for i, network := range outbound {
		asking.Go(func() {
			s.results[i] = spf.Check(ctx, resolver,
				spf.Query{IP: network.Addr(), HELO: hostname, Domain: s.domain})
		})
	}
	asking.Wait()
}

// records are the SPF records of the domain (RFC 7208 section 4.5).
func (s *sender) records() []string {
	var records []string
	for _, text := range s.texts {
		if version, _, _ := strings.Cut(text, " "); strings.EqualFold(version, "v=spf1") {
			records = append(records, text)
		}
	}
	return records
}

// judgeSPF judges the SRS domain. That there is a record at all does not depend on where mail leaves from.
func judgeSPF(p *published) []fault {
	if p.srs.domain == "" {
		return unjudged
	}
	faults := p.judgeSender(&p.srs, "mx")
	switch {
	case faults != nil:
		return faults
	case p.relayIsUnknown():
		return []fault{{What: "mail leaves through relayhost " + p.relayhost + ": the SPF record of " +
			p.srs.domain +
			" has to name its addresses, which cannot be judged until outbound_addresses names them",
			Severity: Note}}
	case len(p.outbound) == 0:
		return []fault{{What: "the SPF record of " + p.srs.domain +
			" is not judged: no address that mail leaves from is known", Severity: Note}}
	}
	return nil
}

// judgeBounces judges the hostname, whose SPF record is what proves the bounces that Postfix itself makes:
// they have the null sender, so that SPF goes by the name in HELO (RFC 7208 section 2.4), and do not pass a
// content filter that could sign them.
func judgeBounces(p *published) []fault {
	switch {
	case p.bouncesAreSigned && judgePublishedKeys(p) != nil:
		return unjudged // what is wrong with the keys has a rule of its own
	case p.bouncesAreSigned:
		return nil
	case p.relayhost != "": // receivers see the name of the relay
		return unjudged
	}
	return p.judgeSender(&p.helo, "a")
}

// judgeSender judges the record of a domain; mechanism is what a new record has for this host where its
// addresses are not known.
func (p *published) judgeSender(s *sender, mechanism string) []fault {
	records := s.records()
	switch {
	case isUnknown(s.err):
		return p.unknown(s.domain, s.err)
	case len(records) > 1:
		return []fault{{What: fmt.Sprintf("%s has %d SPF records, and the result is permerror: publish "+
			"one in their place", s.domain, len(records)), Publish: p.spfRecord(s, mechanism)}}
	case len(records) == 0:
		wrong := fault{What: s.domain + " has no SPF record", Publish: p.spfRecord(s, mechanism)}
		if p.relayIsUnknown() {
			wrong.What += "; add the addresses of relayhost " + p.relayhost +
				", or the include: term that its operator gives, before -all"
		}
		return []fault{wrong}
	case p.relayIsUnknown():
		return nil
	}
	var faults []fault
	for i, result := range s.results {
		reason := result.Reason
		if result.Term != "" {
			reason += fmt.Sprintf(": %s, in the record of %s", result.Term, result.At)
		}
		what := fmt.Sprintf("SPF of %s for %s is %s (%s)", s.domain, nameOf(p.outbound[i]), result.Status,
			reason)
		switch {
		case result.Status == spf.Pass || p.outbound[i].Addr().IsPrivate():
		case result.Status == spf.TempError:
			faults = append(faults, fault{What: what, Severity: Warning})
		default:
			faults = append(faults, fault{What: what, Publish: p.spfRecord(s, mechanism)})
		}
	}
	return faults
}

// spfRecord is a record that names all that mail leaves from: the one that is there with what it lacks, or a
// new one.
func (p *published) spfRecord(s *sender, mechanism string) string {
	var missing []string
	isBroken := false
	for i, result := range s.results {
		isBroken = isBroken || result.Status == spf.PermError
		if network := p.outbound[i]; result.Status != spf.Pass && !network.Addr().IsPrivate() {
			kind := "ip6:"
			if network.Addr().Is4() {
				kind = "ip4:"
			}
			missing = append(missing, kind+nameOf(network))
		}
	}
	if missing == nil || p.relayIsUnknown() || p.isAtHostname && len(s.records()) == 0 {
		missing = []string{mechanism}
	}
	text := "v=spf1 " + strings.Join(missing, " ")
	if records := s.records(); len(records) == 1 && !isBroken {
		return s.domain + `. IN TXT "` + text + records[0][len("v=spf1"):] + `"`
	}
	return s.domain + `. IN TXT "` + text + ` -all"`
}

// bouncesAreSigned tells whether a host passes the bounces that it makes through postmend, which signs them.
func bouncesAreSigned(o *own, h *host) bool {
	return h != nil && setup.SignsBounces(h.config, h.mode, o.config.DKIM.Keys)
}
