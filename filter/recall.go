package filter

import (
	"context"
	"slices"
	"strings"

	"postmend/dkim"
	"postmend/dkim/arc"
	"postmend/filter/arrival"
	"postmend/filter/authn"
	"postmend/filter/domain"
	"postmend/filter/message"
)

// The milter judges a message when it arrives (door.go), and leaves an Authentication-Results field and the
// seal of arrival, which covers it. What it found is not found out again, provided that the message is still
// what was sealed, in time, and came to this host only once: for mail from outside, the client, HELO and
// sender in the seal have to be those that Postfix tells now. A copy that is sent in again from elsewhere,
// past a milter that is down, is believed nothing.

// recalled is what the milter found about a message.
type recalled struct {
	field   dkim.Field // its Authentication-Results
	verdict *arrival.Verdict
	results authn.Results
}

// covers tells whether a field is the milter's own Authentication-Results.
func (r *recalled) covers(field dkim.Field) bool {
	return r != nil && len(field) == len(r.field) && &field[0] == &r.field[0]
}

// isOf tells whether an arrival is that of an envelope.
func (o *origin) isOf(env *Envelope) bool {
	ip, _ := env.clientIP()
	s := o.seal
	return ip.IsValid() && s.Client == ip && s.HELO == env.HELO && s.Sender != nil && *s.Sender == env.Sender
}

// believed finds what the milter has found; nil if nothing can be believed.
func (f *Filter) believed(o *origin, m *message.Message) *recalled {
	if o == nil || o.seal == nil || !o.intact || o.seal.Verdict == nil {
		return nil
	}
	for _, field := range m.Header {
		if !field.Is("Authentication-Results") || !o.seal.Verdict.Covers(field) {
			continue
		}
		parsed, err := authn.Parse(field.Value())
		if err != nil || !parsed.IsOf(f.config.Hostname) {
			return nil
		}
		results := authn.FromTrusted(parsed)
		if !results.Complete() || results.ARC.Status == "" {
			return nil // DNS may tell by now
		}
		v := o.seal.Verdict
		results = results.Recalled(authn.Policy(v.Policy), v.Organisational, v.AlignedBy)
		return &recalled{field: field, verdict: v, results: results}
	}
	return nil
}

// believedOutside is believed for mail from outside that a milter has judged, if the seal tells this arrival.
func (f *Filter) believedOutside(env *Envelope, m *message.Message) *recalled {
	o, err := f.sealedOrigin(m)
	if err != nil || o.seal == nil || !o.isOf(env) {
		return nil // it is judged here
	}
	return f.believed(&o, m)
}

// isUsable tells whether results are about the author that is read now, and DMARC needs no further look-up.
func (r *recalled) isUsable(authors []string) bool {
	if r == nil {
		return false
	}
	d := r.results.DMARC
	if len(authors) != 1 || d.Domain == "" || domain.Name(authors[0]) != d.Domain {
		return false
	}
	return d.Status == authn.Pass || d.Status == authn.Fail ||
		d.Status == authn.None && d.Organisational != ""
}

// proveAgain finds out what may have changed since the milter's verdict: whether the signatures by which
// DMARC passed hold for the message as it is now.
func (f *Filter) proveAgain(ctx context.Context, resolver *authn.Resolver, header dkim.Header,
	m *message.Message, r *recalled) (proof, error) {
	proven := proof{Results: r.results, chain: arc.Read(header)}
	proven.DKIM = slices.Clone(r.results.DKIM)
	identify(header, proven.DKIM)
	if proven.DMARC.Status != authn.Pass {
		return f.followAgain(ctx, resolver, header, m, proven)
	}
	isAuthors := func(v dkim.Verification) bool { return proven.DMARC.IsAlignedSigner(v.Domain) }
	if !slices.ContainsFunc(proven.DKIM, isAuthors) {
		return proven, nil
	}
	verifier := dkim.NewVerifier(header,
		dkim.VerifyOptions{Resolver: resolver, Now: f.now, Wanted: proven.DMARC.IsAlignedSigner})
	if err := m.WriteBody(verifier); err != nil {
		return proof{}, err
	}
	now := verifier.Verify(ctx)
	if body := verifier.Body(dkim.Relaxed); body != nil {
		m.Verified(body)
	}
	proven.now = append(slices.DeleteFunc(slices.Clone(proven.DKIM), isAuthors), now...)
	return proven, nil
}

// followAgain verifies the chain of a message that failed DMARC once more, if somebody may be trusted for
// it: a program here could have changed it.
func (f *Filter) followAgain(
	ctx context.Context, resolver *authn.Resolver, header dkim.Header, m *message.Message, proven proof,
) (proof, error) {
	if len(f.policy.trustedSealers) == 0 || proven.ARC.Status != dkim.Pass {
		return proven, nil
	}
	none := func(string) bool { return false }
	verifier := dkim.NewVerifier(header, dkim.VerifyOptions{Resolver: resolver, Now: f.now, Wanted: none},
		proven.chain.MessageSignatures()...)
	if err := m.WriteBody(verifier); err != nil {
		return proof{}, err
	}
	verifier.Close()
	proven.ARC.Result, proven.followed = proven.chain.Verify(ctx, resolver), true
	return proven, nil
}

// signatures are the verdicts on the message as it is now.
func (p proof) signatures() []dkim.Verification {
	if p.now != nil {
		return p.now
	}
	return p.DKIM
}

// Temporary is that of the results, or that it is not known whether a signature which held on arrival, and
// makes a difference, still holds.
func (p proof) Temporary() bool {
	if p.now == nil || p.Results.Temporary() {
		return p.Results.Temporary()
	}
	if !p.DMARC.Policy.IsStrict() {
		return false
	}
	missing := false
	for _, v := range p.now {
		if !p.DMARC.IsAlignedSigner(v.Domain) {
			continue
		}
		if v.Status == dkim.Pass {
			return false
		}
		missing = missing || v.Status == dkim.TempError
	}
	return missing
}

// sieveRedirected is the field in which Pigeonhole writes the mailbox that redirects a message.
const sieveRedirected = "X-Sieve-Redirected-From"

// redirectedFrom is the mailbox here by which Sieve sent a message on, if it tells one for whose domain we
// sign; "" otherwise. Only what stands above the second Received: field can have been written here: below it
// is what the message came with.
func (p *policy) redirectedFrom(m *message.Message) string {
	received := 0
	for _, field := range m.Header {
		if field.Is("Received") {
			if received++; received == 2 {
				return ""
			}
		}
		if !field.Is(sieveRedirected) {
			continue
		}
		address := strings.TrimSpace(dkim.Unfold(field.Value()))
		name := domain.Of(address)
		if len(address) > maxTraceValue || indexControl(address) >= 0 || !p.local.Has(name) ||
			p.authorSigner([]string{name}) == "" {
			return ""
		}
		return address
	}
	return ""
}
