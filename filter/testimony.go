package filter

import (
	"fmt"
	"slices"
	"time"

	"postmend/dkim"
	"postmend/dkim/arc"
	"postmend/filter/authn"
	"postmend/filter/domain"
	"postmend/filter/message"
)

// testimony is what the sealers of a chain say about DMARC, and whether that can be about this very message.
type testimony struct {
	status dkim.Status // of the chain, as found in this run; "" if it was not verified
	reason string      // why it is not a pass
	// unbound says why the newest message signature does not bind the chain to the message as people see it;
	// "" if it does.
	unbound string
	links   []witness // from the newest to the oldest
}

// witness is a sealer, and for which domain he saw DMARC pass; "" for none.
type witness struct{ sealer, author string }

const (
	// maxSealAge is for how long a trusted chain speaks for a message, counted from its newest seal: it can
	// be sent again with other recipients, as often as somebody likes. Mail is under way for five days at
	// most.
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
	links := proven.chain.Links()
	if len(links) == 0 {
		return t
	}
	t.unbound = f.unbound(m.Header, links[len(links)-1])
	for _, link := range slices.Backward(links) {
		w := witness{sealer: domain.Name(link.Sealer)}
		if said, err := authn.Parse(link.Results); err == nil {
			if dmarc := authn.FromTrusted(said).DMARC; dmarc.Status == authn.Pass {
				w.author = dmarc.Domain
			}
		}
		t.links = append(t.links, w)
	}
	return t
}

// unbound says why the newest set is not enough to tell that the sealer saw this message, "" if it is.
func (f *Filter) unbound(header dkim.Header, newest arc.Link) string {
	if newest.Limited {
		return "its newest signature covers only a part of the body"
	}
	for _, name := range mustBeCovered {
		there, covered := 0, 0
		for _, field := range header {
			if field.Is(name) {
				there++
			}
		}
		for _, signed := range newest.Covered {
			if signed == name {
				covered++
			}
		}
		if covered < there || name == "from" && there != 1 {
			return fmt.Sprintf("its newest signature does not cover each %s field", name)
		}
	}
	age := f.now().Sub(newest.Sealed)
	if newest.Sealed.IsZero() || age > maxSealAge || age < -maxSealLead {
		return "its newest seal has no time, or one that is too old"
	}
	return ""
}

// vouchBySealer goes down the chain from the newest sealer, as long as each is trusted, to the first that saw
// DMARC pass for the author. A sealer that is not trusted ends it: he could have made up all that is below.
func (p *policy) vouchBySealer(msg facts) (v voucher) {
	t, author := msg.testimony, msg.authors[0]
	if t.status == "" || t.status == dkim.None {
		return voucher{}
	}
	doubt := func(text string) voucher { return voucher{doubt: ChainUntrusted.about(text)} }
	for _, w := range t.links {
		switch {
		case !p.trustedSealers.Has(w.sealer):
			return doubt(w.sealer + " is not in trusted_sealers")
		case w.author != author:
			continue
		case t.status == dkim.Pass && t.unbound == "":
			return voucher{why: FromTrustedBySealer.about(w.sealer, author)}
		case t.status == dkim.TempError && t.unbound == "":
			return voucher{trouble: "ARC: " + t.reason}
		case t.status == dkim.Pass:
			return doubt(t.unbound)
		}
		return doubt("it does not pass: " + t.reason)
	}
	return doubt("no sealer in it saw DMARC pass for " + author)
}
