package authn

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"postmend/dkim"
	"postmend/dkim/arc"
)

// Request is what the envelope and From: say. All of it comes from outside.
type Request struct {
	ClientIP netip.Addr // of the SMTP client; the zero value is unknown, and SPF is then None
	HELO     string     // the name it gave
	Sender   string     // MAIL FROM without brackets; "" is the null sender
	Authors  []string   // the domains of From:, as written

	// Trusted is what an Authentication-Results field of somebody trusted says, see FromTrusted; nil if there
	// is none. What it has to say about SPF is not asked for again, and its signatures are believed if Check
	// is given no verify. DMARC is evaluated on these, since the policy is needed as well; a verdict on DMARC
	// counts only if the field has nothing else to go by.
	Trusted *Results
}

// Results is the authentication of a message. The zero value: nothing was checked.
type Results struct {
	SPF   SPF                 `json:"spf"`
	DKIM  []dkim.Verification `json:"dkim"` // none if the message is not signed
	DMARC DMARC               `json:"dmarc"`
	ARC   ARC                 `json:"arc,omitzero"`
}

// ARC is the state of the chain that arrived, and from where.
type ARC struct {
	arc.Result
	RemoteIP netip.Addr `json:"remote_ip,omitzero"` // of the SMTP client
}

// Check finds out what a message proves: SPF, DKIM and the DMARC policy side by side, each question asked
// once. When ctx ends, what is not known by then is TempError, or does not matter. It waits for verify and
// follow, which are to end with their context; without verify there are no signatures but those of
// req.Trusted, without follow there is no chain but its.
func Check(ctx context.Context, r *Resolver, req Request, verify func(context.Context) []dkim.Verification,
	follow func(context.Context) arc.Result) Results {
	var results Results
	var checks sync.WaitGroup
	checks.Go(func() { prefetch(ctx, r, req.Authors) })
	checks.Go(func() {
		if results.SPF = req.trustedSPF(); results.SPF.Status == "" {
			results.SPF = checkSPF(ctx, r, req)
		}
	})
	checks.Go(func() {
		if follow != nil {
			results.ARC = ARC{follow(ctx), req.ClientIP}
		} else if req.Trusted != nil {
			results.ARC = req.Trusted.ARC
		}
	})
	if verify != nil {
		results.DKIM = verify(ctx)
	} else if req.Trusted != nil {
		results.DKIM = req.Trusted.DKIM
	}
	checks.Wait()
	results.DMARC = EvaluateDMARC(ctx, r, req.Authors, results.SPF, results.DKIM)
	if t := req.Trusted; t != nil && t.SPF.Status == "" && len(t.DKIM) == 0 {
		results.DMARC.believe(t.DMARC)
	}
	return results
}

// trustedSPF is the zero value where nothing is there to be trusted. A result for the HELO name says nothing
// about a sender that is not null (RFC 9989 section 4.4.2).
func (req Request) trustedSPF() SPF {
	t := req.Trusted
	if t == nil || t.SPF.Status == TempError || t.SPF.Identity == "helo" && req.Sender != "" {
		return SPF{}
	}
	return t.SPF
}

// believe takes over that DMARC passed for the same author domain.
func (d *DMARC) believe(other DMARC) {
	if d.Status == Fail && other.Status == Pass && other.Domain == d.Domain {
		d.Status, d.Reason = Pass, ""
	}
}

// Recalled completes results that a field of ours tells with what it has no word for.
func (r Results) Recalled(policy Policy, organisational string, alignedBy []string) Results {
	d := &r.DMARC
	d.Policy, d.Organisational, d.AlignedBy = policy, organisational, alignedBy
	d.organisations = []string{organisational}
	return r
}

// Complete tells whether nothing in the results may change when the same message is checked again.
func (r Results) Complete() bool {
	unsure := func(v dkim.Verification) bool { return v.Status == dkim.TempError }
	return r.SPF.Status != TempError && !slices.ContainsFunc(r.DKIM, unsure) && r.DMARC.Status != TempError &&
		r.ARC.Status != dkim.TempError
}

// Temporary tells whether a temporary failure of DNS is behind the results that could change what is to be
// done with the message: DMARC's result, or, where receivers may apply quarantine or reject, that an aligned
// signature holds.
func (r Results) Temporary() bool {
	if r.DMARC.Status == TempError {
		return true
	}
	if r.DMARC.Status != Pass || !r.DMARC.Applied().IsStrict() {
		return false
	}
	isSigned := false
	for _, label := range r.DMARC.AlignedBy {
		isSigned = isSigned || strings.HasPrefix(label, ofSigner)
	}
	return !isSigned && len(r.DMARC.Pending) > 0
}
