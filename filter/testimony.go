package filter

import (
	"fmt"
	"slices"
	"time"

	"postmend/dkim/arc"
	"postmend/filter/authn"
	"postmend/filter/domain"
	"postmend/filter/message"
	"postmend/filter/plan"
)

const (
	// maxSealAge is for how long a seal speaks for a message: it can be sent again with other recipients, as
	// often as somebody likes, also through another sealer. Mail is under way for five days at most.
	maxSealAge = 7 * 24 * time.Hour
	// maxSealLead is how far another host's clock may be ahead.
	maxSealLead = 24 * time.Hour
)

// mustBeCovered are the fields that a replayed message could be made to say something else by. A signature
// that does not cover each that is there leaves room for that.
var mustBeCovered = [...]string{"from", "subject", "reply-to", "content-type"}

// testimony reads the chain of a message that failed DMARC, where the operator trusts a sealer.
func (f *Filter) testimony(m *message.Message, proven plan.Proof) plan.Testimony {
	if !f.policy.TrustsSealers() || !proven.Followed || proven.DMARC.Status != authn.Fail {
		return plan.Testimony{}
	}
	t := plan.Testimony{Status: proven.ARC.Status, Reason: proven.ARC.Reason}
	var there [len(mustBeCovered)]int
	for _, field := range m.Header {
		for i, name := range mustBeCovered {
			if field.Is(name) {
				there[i]++
			}
		}
	}
	for _, link := range slices.Backward(proven.Chain.Links()) {
		w := plan.Witness{Sealer: domain.Name(link.Sealer), Unbound: f.unbound(there, link)}
		if said, err := authn.Parse(link.Results); err == nil {
			if dmarc := authn.FromTrusted(said).DMARC; dmarc.Status == authn.Pass {
				w.Author = dmarc.Domain
			}
		}
		t.Links = append(t.Links, w)
	}
	return t
}

// unbound says why a set is not enough to tell that its sealer saw this message, "" if it is. there counts
// the fields that must be covered.
func (f *Filter) unbound(there [len(mustBeCovered)]int, link arc.Link) string {
	if link.Limited {
		return fmt.Sprintf("the signature of %s covers only a part of the body", link.Sealer)
	}
	for i, name := range mustBeCovered {
		covered := 0
		for _, signed := range link.Covered {
			if signed == name {
				covered++
			}
		}
		if covered < there[i] || name == "from" && there[i] != 1 {
			return fmt.Sprintf("the signature of %s does not cover each %s field", link.Sealer, name)
		}
	}
	age := f.now().Sub(link.Sealed)
	if link.Sealed.IsZero() || age > maxSealAge || age < -maxSealLead {
		return fmt.Sprintf("the seal of %s has no time, or one that is too old", link.Sealer)
	}
	return ""
}
