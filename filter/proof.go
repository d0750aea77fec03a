package filter

import (
	"context"
	"errors"
	"math"
	"net"
	"net/mail"
	"net/netip"
	"strings"
	"time"

	"postmend/dkim"
	"postmend/dkim/arc"
	"postmend/filter/authn"
)

// prove finds out what a message proves of its author. What an Authentication-Results field of a trusted earlier filter says
// is not looked up again.
func (f *Filter) prove(ctx context.Context, env *Envelope, m *Message) (proof, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(f.config.Limits.DNSDeadline))
	defer cancel()
	resolver := authn.New(f.config.Resolver)
	ip, _ := env.clientIP()
	request := authn.Request{
		ClientIP: ip,
		HELO:     env.HELO,
		Sender:   env.Sender,
		Authors:  m.authorDomains(),
	}
	chain := arc.Read(m.Header)
	verifier := dkim.NewVerifier(m.Header, dkim.VerifyOptions{Resolver: resolver, Now: f.now}, chain.MessageSignatures()...)
	verify, follow := verifier.Verify, func(ctx context.Context) arc.Result { return chain.Verify(ctx, resolver) }
	if trusted := f.trustedResults(m); trusted != nil {
		results := authn.FromTrusted(trusted)
		request.Trusted = &results
		if trusted.Names("dkim") {
			verify = nil
			identify(m.Header, results.DKIM)
		}
		if results.ARC.Status != "" {
			follow = nil
		}
	}
	if verify != nil || follow != nil {
		if err := m.writeBody(verifier); err != nil {
			return proof{}, err
		}
		verifier.Close()
		m.relaxed = verifier.Body(dkim.Relaxed)
	}
	proven := proof{Results: authn.Check(ctx, resolver, request, verify, follow), chain: chain}
	if verify == nil && proven.DMARC.Status == authn.Pass {
		var err error
		if proven.strayCR, err = m.hasStrayCR(); err != nil {
			return proof{}, err
		}
	}
	status := proven.DMARC.Status
	aligns := facts{authors: request.Authors, proven: proven}.couldAlign
	if m.Oversized || status != authn.Pass && status != authn.None && aligns(f.policy.spfDomain(env.Sender)) {
		proven.transit = f.transit(ctx, resolver, env.Sender)
	}
	return proven, nil
}

// proof is what a message proves, and what this host would add to it.
type proof struct {
	authn.Results
	// chain is what the next ARC set is added to.
	chain *arc.Chain
	// transit is what SPF says if this host sends the message on with the sender it came with: a Pass is one that arrived without. "" if it was
	// not asked, for it does not matter, or this host's addresses are not known.
	transit authn.Status
	// strayCR is set if a signature that others found valid is over a text with a CR within a line; our own verifier never finds such a one valid.
	strayCR bool
}

// transit asks SPF about this host and a sender. The host's addresses are those of its name, as others see it: not what /etc/hosts may say.
func (f *Filter) transit(ctx context.Context, resolver *authn.Resolver, sender string) (status authn.Status) {
	const enough = 2 // one of IPv4, one of IPv6
	addresses, err := resolver.LookupIPAddr(ctx, f.config.Hostname)
	if dnsError, ok := errors.AsType[*net.DNSError](err); err != nil && (!ok || !dnsError.IsNotFound) {
		return authn.TempError
	}
	for _, address := range addresses[:min(len(addresses), enough)] {
		ip, _ := netip.AddrFromSlice(address.IP)
		if ip = ip.Unmap(); !ip.IsGlobalUnicast() || ip.IsPrivate() || status == authn.Pass {
			continue
		}
		status = authn.Check(ctx, resolver, authn.Request{ClientIP: ip, HELO: f.config.Hostname, Sender: sender}, nil, nil).SPF.Status
	}
	return status
}

// trustedResults gathers what Authentication-Results fields of a trusted authserv-id say; nil if there is none. Several filters may write
// one each under one name, SPF, DKIM and DMARC: of each method, the topmost field that names it counts, and what stands below another host's
// Received: is older. Whoever writes such fields also removes those that others wrote in its name (RFC 8601 section 5): that is what makes it
// trusted.
func (f *Filter) trustedResults(m *Message) *authn.AuthRes {
	for _, id := range f.config.TrustedAuthservIDs {
		var trusted *authn.AuthRes
		for _, field := range m.Header {
			if trusted != nil && field.Is("Received") {
				break
			}
			if !field.Is("Authentication-Results") || !authn.ClaimsToBe(field.Value(), id) {
				continue
			}
			if parsed, err := authn.Parse(field.Value()); err == nil {
				trusted = trusted.Above(parsed)
			}
		}
		if trusted != nil {
			return trusted
		}
	}
	return nil
}

// claimsToBeOurs tells whether a field is an Authentication-Results that names us as its author. We have not written it.
func (f *Filter) claimsToBeOurs(field dkim.Field) bool {
	return field.Is("Authentication-Results") && authn.ClaimsToBe(field.Value(), f.config.Hostname)
}

// age is how long the message has been on this host, by the newest Received: field, which Postfix wrote when it took the message in. Without
// one there is nobody who would try again: then it is as old as can be.
func (f *Filter) age(m *Message) time.Duration {
	value := m.received(0)
	date, err := mail.ParseDate(strings.TrimSpace(value[strings.LastIndexByte(value, ';')+1:]))
	if err != nil {
		return math.MaxInt64
	}
	return f.now().Sub(date)
}

// facts gathers what the plan has to know of the message.
func (f *Filter) facts(m *Message, proven proof) facts {
	known := facts{
		authors:     m.authorDomains(),
		oversized:   m.Oversized,
		proven:      proven,
		patient:     f.age(m) < time.Duration(f.config.Limits.DNSPatience),
		longestLine: m.LongestLine,
		occurrences: map[string]int{},
		mended:      f.mendedBefore(m),
	}
	for _, field := range m.Header {
		for _, name := range [...]string{"dkim-signature", "authentication-results", "x-forwarded-to", "x-forwarded-for",
			"arc-authentication-results", "arc-message-signature", "arc-seal"} {
			if field.Is(name) {
				known.occurrences[name]++
			}
		}
		for _, name := range droppedFields {
			if field.Is(name) {
				known.occurrences[name]++
			}
		}
		if f.claimsToBeOurs(field) {
			known.claimed++
		}
	}
	return known
}
