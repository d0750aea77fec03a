package filter

import (
	"context"
	"math"
	"net"
	"net/mail"
	"slices"
	"strings"
	"time"

	"postmend/dkim"
	"postmend/dkim/arc"
	"postmend/filter/authn"
	"postmend/filter/domain"
	"postmend/filter/message"
	"postmend/filter/plan"
)

// prove authenticates a message. It does not look up again what a trusted Authentication-Results field says.
func (f *Filter) prove(
	ctx context.Context, resolver *authn.Resolver, env *plan.Envelope, m *message.Message,
) (plan.Proof, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(f.config.Limits.DNSDeadline))
	defer cancel()
	ip, helo, sender := env.Identity()
	request := authn.Request{
		ClientIP: ip,
		HELO:     helo,
		Sender:   sender,
		Authors:  f.policy.Authors(env, m),
	}
	header := f.arrivedHeader(env, m)
	if env.Recalled.IsUsable(request.Authors) {
		return f.proveAgain(ctx, resolver, header, m, env.Recalled)
	}
	chain := arc.Read(header)
	verifier := dkim.NewVerifier(header, dkim.VerifyOptions{Resolver: resolver, Now: f.now},
		chain.MessageSignatures()...)
	verify := verifier.Verify
	follow := func(ctx context.Context) arc.Result { return chain.Verify(ctx, resolver) }
	// What a program here sends on may not be what the earlier filter saw.
	if trusted := f.trustedResults(m); trusted != nil && env.Origin == nil && !env.AtDoor {
		results := authn.FromTrusted(trusted)
		request.Trusted = &results
		// The earlier filter had trouble with DNS: look it up again, because the field never changes.
		unsure := func(v dkim.Verification) bool { return v.Status == dkim.TempError }
		if trusted.Names("dkim") && !slices.ContainsFunc(results.DKIM, unsure) {
			verify = nil
			identify(m.Header, results.DKIM)
		}
		// Whoever trusts a sealer has to see the chain pass.
		if results.ARC.Status != "" && !f.policy.TrustsSealers() {
			follow = nil
		}
	}
	if verify != nil || follow != nil {
		if err := m.WriteBody(verifier); err != nil {
			return plan.Proof{}, err
		}
		verifier.Close()
		m.Verified(verifier.Body(dkim.Relaxed))
	}
	proven := plan.Proof{Results: authn.Check(ctx, resolver, request, verify, follow), Chain: chain,
		Followed: follow != nil}
	if verify == nil && proven.DMARC.Status == authn.Pass {
		var err error
		if proven.StrayCR, err = m.HasStrayCR(); err != nil {
			return plan.Proof{}, err
		}
	}
	return proven, nil
}

// arrivedHeader is the header without what this host has put there on arrival.
func (f *Filter) arrivedHeader(env *plan.Envelope, m *message.Message) dkim.Header {
	header := withoutSeals(m.Header)
	if env.Recalled == nil {
		return header
	}
	return slices.DeleteFunc(slices.Clone(header), env.Recalled.Covers)
}

// trustedResults gathers what Authentication-Results fields of a trusted authserv-id say; nil if there is
// none. A field is believed only if it follows RFC 8601, has exactly the trusted name, and stands above all
// Received: fields of other hosts. Several filters may write one each under one name, SPF, DKIM and DMARC: of
// each method, the topmost field that names it counts, and what stands below a Received: field under it is
// older. Whoever writes such fields also removes those that others wrote in its name (RFC 8601 section 5):
// that is what makes it trusted, and no position could replace it.
func (f *Filter) trustedResults(m *message.Message) *authn.AuthRes {
	if len(f.config.TrustedAuthservIDs) == 0 {
		return nil
	}
	header := message.OwnPart(m.Header, f.config.Hostname, net.InterfaceAddrs)
	for _, id := range f.config.TrustedAuthservIDs {
		var trusted *authn.AuthRes
		for _, field := range header {
			if trusted != nil && field.Is("Received") {
				break
			}
			if !field.Is("Authentication-Results") {
				continue
			}
			if parsed, err := authn.Parse(field.Value()); err == nil && parsed.IsOf(id) {
				trusted = trusted.Above(parsed)
			}
		}
		if trusted != nil {
			return trusted
		}
	}
	return nil
}

// claimsToBeOurs tells whether a field is an Authentication-Results that falsely has our authserv-id.
func (f *Filter) claimsToBeOurs(field dkim.Field) bool {
	return field.Is("Authentication-Results") && authn.ClaimsToBe(field.Value(), f.config.Hostname)
}

const forEver time.Duration = math.MaxInt64

// age is how long the message has been on this host, by the newest Received: field, which Postfix wrote when
// it took the message in. Without such a field nobody would try again, so it has the greatest age. It is
// negative if the clock was set back meanwhile.
func (f *Filter) age(m *message.Message) time.Duration { return f.since(m.Received(0)) }

// since is the time since the date of a Received: field.
func (f *Filter) since(value string) time.Duration {
	date, err := mail.ParseDate(strings.TrimSpace(value[strings.LastIndexByte(value, ';')+1:]))
	if err != nil {
		return forEver
	}
	return f.now().Sub(date)
}

// maxIdentified bounds the DKIM-Signature fields that identify reads.
const maxIdentified = 50

// identify completes verdicts of trusted Authentication-Results fields with what the signatures cover, so far
// as exactly one DKIM-Signature field fits what they say of it: d=, or the domain of i= if d= is not told,
// and of s=, a= and the beginning of b= (RFC 6008) what they have. Without d=, no other verdict has a domain.
func identify(header dkim.Header, verdicts []dkim.Verification) {
	var signatures []*dkim.Signature
	for _, field := range header {
		if field.Is("DKIM-Signature") {
			if len(signatures) == maxIdentified {
				return // a field that is not read could fit, too
			}
			signatures = append(signatures, dkim.ParseSignature(field))
		}
	}
	for i, verdict := range verdicts {
		var found *dkim.Signature
		n := 0
		for _, signature := range signatures {
			if fits(verdict, signature.Summary()) {
				found = signature
				n++
			}
		}
		if n == 1 {
			summary := found.Summary()
			verdicts[i].SignedNames, verdicts[i].Algorithm = summary.SignedNames, summary.Algorithm
			verdicts[i].Domain = domain.Canonical(summary.Domain)
		}
	}
}

// fits tells whether a verdict could be about a signature.
func fits(verdict, signature dkim.Verification) bool {
	told, is := verdict.Domain, domain.Canonical(signature.Domain)
	if told == "" {
		told, is = domain.Of(verdict.Identity), domain.Of(signature.Identity)
	}
	return told == is && told != "" &&
		(verdict.Selector == "" || strings.EqualFold(verdict.Selector, signature.Selector)) &&
		(verdict.Algorithm == "" || strings.EqualFold(verdict.Algorithm, signature.Algorithm)) &&
		strings.HasPrefix(signature.Signature, verdict.Signature)
}
