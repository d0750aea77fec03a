package setup

import (
	"fmt"

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
			fmt.Sprintf(`%s. IN TXT "v=spf1 mx -all"`, domain))
		if relay != "" {
			lines = append(lines, "; put the addresses of relayhost "+relay+", or the include: that its operator names, before -all")
		}
	}
	if s.plan.wanted.Mode == ContentFilter && relay == "" && h.config.Hostname != h.config.SRS.Domain {
		lines = append(lines, "; for the bounces that Postfix itself makes; if there is an SPF record already, it needs the a before -all",
			fmt.Sprintf(`%s. IN TXT "v=spf1 a -all"`, h.config.Hostname))
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
			lines = append(lines, "; and, where there is no DMARC record yet, to begin with:")
		}
		suggested[domain] = true
		lines = append(lines, fmt.Sprintf(`_dmarc.%s. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@%s"`, domain, domain))
	}
	return lines, nil
}
