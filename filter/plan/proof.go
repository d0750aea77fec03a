package plan

import (
	"postmend/dkim"
	"postmend/dkim/arc"
	"postmend/filter/arrival"
	"postmend/filter/authn"
	"postmend/filter/domain"
)

// Proof is the authentication of a message, and what this host would add to it.
type Proof struct {
	authn.Results
	// Chain is what the next ARC set is added to.
	Chain *arc.Chain
	// Transit is looked up only if the plan depends on it.
	Transit Transit
	// Followed is set if the chain was verified in this run, and not by an earlier filter.
	Followed bool
	// StrayCR is set if the message has a CR within a line although others found a signature of it valid. Our
	// own verifier never does.
	StrayCR bool
	// Now is set where the results are the milter's: the signatures of the message as it is now.
	Now []dkim.Verification
}

// signatures are the verdicts on the message as it is now.
func (p Proof) signatures() []dkim.Verification {
	if p.Now != nil {
		return p.Now
	}
	return p.DKIM
}

// Temporary is that of the results, or that it is not known whether a signature which held on arrival, and
// makes a difference, still holds.
func (p Proof) Temporary() bool {
	if p.Now == nil || p.Results.Temporary() {
		return p.Results.Temporary()
	}
	if !p.DMARC.Applied().IsStrict() {
		return false
	}
	missing := false
	for _, v := range p.Now {
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

// Recalled is what the milter found about a message.
type Recalled struct {
	Field   dkim.Field // its Authentication-Results
	Verdict *arrival.Verdict
	Results authn.Results
}

// Covers tells whether a field is the milter's own Authentication-Results.
func (r *Recalled) Covers(field dkim.Field) bool {
	return r != nil && len(field) == len(r.Field) && &field[0] == &r.Field[0]
}

// IsUsable tells whether results are about the author that is read now, and DMARC needs no further look-up.
func (r *Recalled) IsUsable(authors []string) bool {
	if r == nil {
		return false
	}
	d := r.Results.DMARC
	if len(authors) != 1 || d.Domain == "" || domain.Name(authors[0]) != d.Domain {
		return false
	}
	return d.Status == authn.Pass || d.Status == authn.Fail ||
		d.Status == authn.None && d.Organisational != ""
}
