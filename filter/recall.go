package filter

import (
	"context"
	"slices"

	"postmend/dkim"
	"postmend/dkim/arc"
	"postmend/filter/authn"
	"postmend/filter/message"
	"postmend/filter/plan"
)

// The milter judges a message when it arrives (door.go), and leaves an Authentication-Results field and the
// seal of arrival, which covers it. What it found is not found out again, provided that the message is still
// what was sealed, in time, and came to this host only once: for mail from outside, the client, HELO and
// sender in the seal have to be those that Postfix tells now. A copy that is sent in again from elsewhere,
// past a milter that is down, is believed nothing.

// believed finds what the milter has found; nil if nothing can be believed.
func (f *Filter) believed(o *plan.Origin, m *message.Message) *plan.Recalled {
	if o == nil || o.Seal == nil || !o.Intact || o.Seal.Verdict == nil {
		return nil
	}
	for _, field := range m.Header {
		if !field.Is("Authentication-Results") || !o.Seal.Verdict.Covers(field) {
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
		v := o.Seal.Verdict
		results = results.Recalled(authn.Policy(v.Policy), v.Organisational, v.AlignedBy)
		return &plan.Recalled{Field: field, Verdict: v, Results: results}
	}
	return nil
}

// believedOutside is believed for mail from outside that a milter has judged, if the seal tells this arrival.
func (f *Filter) believedOutside(env *plan.Envelope, m *message.Message) *plan.Recalled {
	o, err := f.sealedOrigin(m)
	if err != nil || o.Seal == nil || !o.IsOf(env) {
		return nil // it is judged here
	}
	return f.believed(&o, m)
}

// proveAgain finds out what may have changed since the milter's verdict: whether the signatures by which
// DMARC passed hold for the message as it is now.
func (f *Filter) proveAgain(ctx context.Context, resolver *authn.Resolver, header dkim.Header,
	m *message.Message, r *plan.Recalled) (plan.Proof, error) {
	proven := plan.Proof{Results: r.Results, Chain: arc.Read(header)}
	proven.DKIM = slices.Clone(r.Results.DKIM)
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
		return plan.Proof{}, err
	}
	now := verifier.Verify(ctx)
	if body := verifier.Body(dkim.Relaxed); body != nil {
		m.Verified(body)
	}
	proven.Now = append(slices.DeleteFunc(slices.Clone(proven.DKIM), isAuthors), now...)
	return proven, nil
}

// followAgain verifies the chain of a message that failed DMARC once more, if somebody may be trusted for
// it: a program here could have changed it.
func (f *Filter) followAgain(
	ctx context.Context, resolver *authn.Resolver, header dkim.Header, m *message.Message, proven plan.Proof,
) (plan.Proof, error) {
	if !f.policy.TrustsSealers() || proven.ARC.Status != dkim.Pass {
		return proven, nil
	}
	none := func(string) bool { return false }
	verifier := dkim.NewVerifier(header, dkim.VerifyOptions{Resolver: resolver, Now: f.now, Wanted: none},
		proven.Chain.MessageSignatures()...)
	if err := m.WriteBody(verifier); err != nil {
		return plan.Proof{}, err
	}
	verifier.Close()
	proven.ARC.Result, proven.Followed = proven.Chain.Verify(ctx, resolver), true
	return proven, nil
}
