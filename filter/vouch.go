package filter

import (
	"cmp"
	"fmt"
	"net/netip"

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
func (p *policy) vouch(env *Envelope, msg facts) voucher {
	if msg.proven.DMARC.Status != authn.Fail || len(msg.authors) != 1 || domain.Name(msg.authors[0]) == "" ||
		p.mayBeOurs(msg.authors[0], msg) {
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
func (p *policy) vouchByPlace(env *Envelope, msg facts) (v voucher) {
	ip, _, _ := env.identity()
	spf := msg.proven.SPF
	for _, a := range p.trustedAuthors {
		if !a.domains.Has(msg.authors[0]) {
			continue
		}
		isSPF := a.spf != "" && domain.Name(spf.Domain) == a.spf
		switch {
		case isSPF && spf.Status == authn.Pass:
			return voucher{why: cause.FromTrustedBySPF.About(msg.authors[0], a.spf)}
		case isSPF && spf.Status == authn.TempError:
			v.trouble = "SPF of " + a.spf
		case a.network.IsValid() && ip.IsValid() && a.network.Contains(ip):
			return voucher{why: cause.FromTrustedByNetwork.About(msg.authors[0], ip)}
		}
	}
	return v
}

// trustedAuthor is a TrustedAuthorConfig, ready for use.
type trustedAuthor struct {
	domains domain.Set // one entry
	spf     string
	network netip.Prefix
}

// The largest networks that a trusted author may have: more is not his alone.
const (
	leastBitsIPv4 = 8
	leastBitsIPv6 = 16
)

func newTrustedAuthors(configured []TrustedAuthorConfig) (list []trustedAuthor, err error) {
	for i, c := range configured {
		a, err := c.parse()
		if err != nil {
			return nil, fmt.Errorf("trusted_authors, number %d: %w", i+1, err)
		}
		list = append(list, a)
	}
	return list, nil
}

func (c TrustedAuthorConfig) parse() (a trustedAuthor, err error) {
	a.domains = domain.Set{}
	if err := a.domains.Add(c.Domain); err != nil {
		return a, fmt.Errorf("domain: %w", err)
	}
	switch {
	case (c.SPF == "") == (c.Network == ""):
		return a, fmt.Errorf("set spf or network, and not both: From: alone proves nothing")
	case c.SPF != "":
		if a.spf, err = domain.Parse(c.SPF); err != nil {
			err = fmt.Errorf("spf: %w", err)
		}
		return a, err
	}
	if ip, ipErr := netip.ParseAddr(c.Network); ipErr == nil {
		a.network = netip.PrefixFrom(ip.WithZone(""), ip.BitLen())
	} else if a.network, err = netip.ParsePrefix(c.Network); err != nil {
		return a, fmt.Errorf("network: %q is not an address or prefix", c.Network)
	}
	a.network = a.network.Masked()
	ip := a.network.Addr()
	if ip.Is4In6() || ip.Is4() && a.network.Bits() < leastBitsIPv4 || ip.Is6() &&
		a.network.Bits() < leastBitsIPv6 {
		return a, fmt.Errorf("network: %q is not the network of one author", c.Network)
	}
	return a, nil
}
