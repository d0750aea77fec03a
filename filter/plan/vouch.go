package plan

import (
	"cmp"

	"postmend/filter/authn"
	"postmend/filter/cause"
	"postmend/filter/domain"
)

// Somebody whom the operator trusts may vouch for the author of a message that failed DMARC: then its From:
// is rewritten as if it had passed. That is all: From: never stays because of it, Authentication-Results go
// on saying that DMARC failed, and the last check of each delivery treats the message as not authentic.
// Nobody vouches for a domain of this side.

// voucher is who vouches for a message.
type voucher struct {
	why     cause.Reason // the zero value is nobody
	trouble string       // DNS may still tell that somebody does; "" if it cannot
	doubt   cause.Reason // why a chain does not; the zero value if there is none
}

// vouch finds who vouches for the author of a message that failed DMARC.
func (p *Policy) vouch(env *Envelope, msg Facts) voucher {
	if msg.Proven.DMARC.Status != authn.Fail || len(msg.Authors) != 1 || domain.Name(msg.Authors[0]) == "" ||
		p.mayBeOurs(msg.Authors[0], msg) {
		return voucher{}
	}
	v := p.vouchByPlace(env, msg)
	if v.why.Cause != 0 {
		return v
	}
	sealed := p.vouchBySealer(msg)
	sealed.trouble = cmp.Or(sealed.trouble, v.trouble)
	return sealed
}

// vouchByPlace finds a trusted author whose mail comes from where it should. SPF is about where this message
// arrived from, also if a program here sends it on.
func (p *Policy) vouchByPlace(env *Envelope, msg Facts) (v voucher) {
	ip, _, _ := env.Identity()
	spf := msg.Proven.SPF
	for _, a := range p.trustedAuthors {
		if !a.Domains.Has(msg.Authors[0]) {
			continue
		}
		isSPF := a.SPF != "" && domain.Name(spf.Domain) == a.SPF
		switch {
		case isSPF && spf.Status == authn.Pass:
			return voucher{why: cause.FromTrustedBySPF.About(msg.Authors[0], a.SPF)}
		case isSPF && spf.Status == authn.TempError:
			v.trouble = "SPF of " + a.SPF
		case a.Network.IsValid() && ip.IsValid() && a.Network.Contains(ip):
			return voucher{why: cause.FromTrustedByNetwork.About(msg.Authors[0], ip)}
		}
	}
	return v
}
