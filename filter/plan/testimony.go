package plan

import (
	"cmp"

	"postmend/dkim"
	"postmend/filter/cause"
)

// Testimony is what the sealers of a chain say about DMARC, and whether that can be about this very message.
type Testimony struct {
	Status dkim.Status // of the chain, as found in this run; "" if it was not verified
	Reason string      // why it is not a pass
	Links  []Witness   // from the newest to the oldest
}

// Witness is a sealer.
type Witness struct {
	Sealer string
	Author string // for whose domain he saw DMARC pass; "" for none
	// Unbound says why his set does not bind the message as people see it; "" if it does. The sealer above
	// vouches only for what it binds: all else could be changed, or an old message sent again, before it got
	// there.
	Unbound string
}

// vouchBySealer goes down the chain from the newest sealer, as long as each is trusted and binds the message,
// to the first that saw DMARC pass for the author. A sealer that is not trusted ends it: he could have made
// up all that is below.
func (p *Policy) vouchBySealer(msg Facts) (v voucher) {
	t, author := msg.Testimony, msg.Authors[0]
	if t.Status == "" || t.Status == dkim.None {
		return voucher{}
	}
	doubt := func(text string) voucher { return voucher{doubt: cause.ChainUntrusted.About(text)} }
	unbound := ""
	for _, w := range t.Links {
		unbound = cmp.Or(unbound, w.Unbound)
		switch {
		case !p.trustedSealers.Has(w.Sealer):
			return doubt(w.Sealer + " is not in trusted_sealers")
		case w.Author != author:
			continue
		case t.Status == dkim.Pass && unbound == "":
			return voucher{why: cause.FromTrustedBySealer.About(w.Sealer, author)}
		case t.Status == dkim.TempError && unbound == "":
			return voucher{trouble: "ARC: " + t.Reason}
		case t.Status == dkim.Pass:
			return doubt(unbound)
		}
		return doubt("it does not pass: " + t.Reason)
	}
	return doubt("no sealer in it saw DMARC pass for " + author)
}
