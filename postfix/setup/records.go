package setup

import (
	"fmt"
	"net/netip"
	"strings"

	"postmend/dkim"
	"postmend/filter/domain/publicsuffix"
)

// Records are the DNS records to publish, as lines of a zone file.
func (s *Setup) Records() ([]string, error) {
	h := s.home
	lines := []string{"; DNS records to publish"}
	relay := s.config.Get("relayhost")
	if domain := h.config.SRS.Domain; domain != "" {
		lines = append(lines, fmt.Sprintf("%s. IN MX 10 %s.", domain, h.config.Hostname),
			fmt.Sprintf(`%s. IN TXT "v=spf1 %s -all"`, domain, h.spfMechanism("mx")))
		if relay != "" {
			lines = append(lines, "; before -all, add the addresses of relayhost "+relay+", or the include: that its operator tells you")
		}
	}
	if s.plan.wanted.Mode == ContentFilter && relay == "" && h.config.Hostname != h.config.SRS.Domain {
		mechanism := h.spfMechanism("a")
		lines = append(lines, "; for bounces that Postfix itself makes; if "+h.config.Hostname+" has an SPF record, put "+mechanism+" before its -all",
			fmt.Sprintf(`%s. IN TXT "v=spf1 %s -all"`, h.config.Hostname, mechanism))
	}
	suggested := map[string]bool{}
	for _, k := range h.config.DKIM.Keys {
		if isMissing(k.File) {
			lines = append(lines, fmt.Sprintf("; %s._domainkey.%s: printed when the key is made", k.Selector, k.Domain))
			continue
		}
		key, err := dkim.LoadKey(k.Domain, k.Selector, k.File)
		if err != nil {
			return nil, err
		}
		record, err := key.ZoneRecord()
		if err != nil {
			return nil, err
		}
		lines = append(lines, record)
	}
	for _, k := range h.config.DKIM.Keys {
		domain, ok := publicsuffix.Registered(k.Domain)
		if !ok || suggested[domain] {
			continue
		}
		if len(suggested) == 0 {
			lines = append(lines, "; if there is no DMARC record yet, start with:")
		}
		suggested[domain] = true
		lines = append(lines, fmt.Sprintf(`_dmarc.%s. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@%s"`, domain, domain))
	}
	return lines, nil
}

// spfMechanism names the addresses that mail leaves from, as far as main.cf tells them, or else says "those
// of this host" by another mechanism.
func (h *home) spfMechanism(otherwise string) string {
	var mechanisms []string
	for _, address := range h.config.OutboundAddresses {
		if ip, err := netip.ParseAddr(address); err == nil && ip.Is4() {
			mechanisms = append(mechanisms, "ip4:"+address)
		} else if err == nil {
			mechanisms = append(mechanisms, "ip6:"+address)
		}
	}
	if mechanisms == nil {
		return otherwise
	}
	return strings.Join(mechanisms, " ")
}
