package config

import (
	"fmt"
	"net/netip"

	"postmend/filter/domain"
)

// TrustedOrigin is a TrustedAuthor, ready for use: where mail of an author comes from.
type TrustedOrigin struct {
	Domains domain.Set // one entry
	SPF     string
	Network netip.Prefix
}

// The largest networks that a trusted author may have: more is not his alone.
const (
	leastBitsIPv4 = 8
	leastBitsIPv6 = 16
)

// ParseTrustedAuthors makes them ready.
func ParseTrustedAuthors(configured []TrustedAuthor) (list []TrustedOrigin, err error) {
	for i, c := range configured {
		a, err := c.parse()
		if err != nil {
			return nil, fmt.Errorf("trusted_authors, number %d: %w", i+1, err)
		}
		list = append(list, a)
	}
	return list, nil
}

func (c TrustedAuthor) parse() (a TrustedOrigin, err error) {
	a.Domains = domain.Set{}
	if err := a.Domains.Add(c.Domain); err != nil {
		return a, fmt.Errorf("domain: %w", err)
	}
	switch {
	case (c.SPF == "") == (c.Network == ""):
		return a, fmt.Errorf("set spf or network, and not both: From: alone proves nothing")
	case c.SPF != "":
		if a.SPF, err = domain.Parse(c.SPF); err != nil {
			err = fmt.Errorf("spf: %w", err)
		}
		return a, err
	}
	if ip, ipErr := netip.ParseAddr(c.Network); ipErr == nil {
		a.Network = netip.PrefixFrom(ip.WithZone(""), ip.BitLen())
	} else if a.Network, err = netip.ParsePrefix(c.Network); err != nil {
		return a, fmt.Errorf("network: %q is not an address or prefix", c.Network)
	}
	a.Network = a.Network.Masked()
	ip := a.Network.Addr()
	if ip.Is4In6() || ip.Is4() && a.Network.Bits() < leastBitsIPv4 || ip.Is6() &&
		a.Network.Bits() < leastBitsIPv6 {
		return a, fmt.Errorf("network: %q is not the network of one author", c.Network)
	}
	return a, nil
}
