package filter

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"postmend/dkim"
	"postmend/dkim/arc"
	"postmend/filter/authn"
	"postmend/filter/cause"
	"postmend/filter/domain"
	"postmend/filter/message"
)

// testimony is what the sealers of a chain say about DMARC, and whether that can be about this very message.
type testimony struct {
	status dkim.Status // of the chain, as found in this run; "" if it was not verified
	reason string      // why it is not a pass
	links  []witness   // from the newest to the oldest
}

// witness is a sealer.
type witness struct {
	sealer string
	author string // for whose domain he saw DMARC pass; "" for none
	// unbound says why his set does not bind the message as people see it; "" if it does. The sealer above
	// vouches only for what it binds: all else could be changed, or an old message sent again, before it got
	// there.
	unbound string
}

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
func (f *Filter) testimony(m *message.Message, proven proof) testimony {
	if len(f.policy.trustedSealers) == 0 || !proven.followed || proven.DMARC.Status != authn.Fail {
		return testimony{}
	}
	t := testimony{status: proven.ARC.Status, reason: proven.ARC.Reason}
	var there [len(mustBeCovered)]int
	for _, field := range m.Header {
		for i, name := range mustBeCovered {
			if field.Is(name) {
				there[i]++
			}
		}
	}
	for _, link := range slices.Backward(proven.chain.Links()) {
		w := witness{sealer: domain.Name(link.Sealer), unbound: f.unbound(there, link)}
		if said, err := authn.Parse(link.Results); err == nil {
			if dmarc := authn.FromTrusted(said).DMARC; dmarc.Status == authn.Pass {
				w.author = dmarc.Domain
			}
		}
		t.links = append(t.links, w)
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

// vouchBySealer goes down the chain from the newest sealer, as long as each is trusted and binds the message,
// to the first that saw DMARC pass for the author. A sealer that is not trusted ends it: he could have made
// up all that is below.
func (p *policy) vouchBySealer(msg facts) (v voucher) {
	t, author := msg.testimony, msg.authors[0]
	if t.status == "" || t.status == dkim.None {
		return voucher{}
	}
	doubt := func(text string) voucher { return voucher{doubt: cause.ChainUntrusted.About(text)} }
	unbound := ""
	for _, w := range t.links {
		unbound = cmp.Or(unbound, w.unbound)
		switch {
		case !p.trustedSealers.Has(w.sealer):
			return doubt(w.sealer + " is not in trusted_sealers")
		case w.author != author:
			continue
		case t.status == dkim.Pass && unbound == "":
			return voucher{why: cause.FromTrustedBySealer.About(w.sealer, author)}
		case t.status == dkim.TempError && unbound == "":
			return voucher{trouble: "ARC: " + t.reason}
		case t.status == dkim.Pass:
			return doubt(unbound)
		}
		return doubt("it does not pass: " + t.reason)
	}
	return doubt("no sealer in it saw DMARC pass for " + author)
}
