package setup

import (
	"fmt"
	"strings"

	"postmend/postfix/postconf"
)

// recipientMaps are the tables of recipients of each address class. Where there are none, Postfix takes mail
// for any address.
var recipientMaps = map[string]string{
	"mydestination":           "local_recipient_maps",
	"virtual_mailbox_domains": "virtual_mailbox_maps",
	"relay_domains":           "relay_recipient_maps",
}

// TakesAnySRSAddress gives an error if Postfix would accept whatever looks like an SRS address, forged ones
// included.
func (p *Plan) TakesAnySRSAddress(domains *Domains) error {
	domain := p.wanted.SRSDomain
	if domain == "" {
		return nil
	}
	const remedy = "forged SRS addresses would be accepted. %s, or choose another SRS domain" +
		" (domain in [srs] of postmend's configuration; --srs-domain for a new one)"
	restrictions := p.config.Get("smtpd_recipient_restrictions")
	if p.config.Get("smtpd_reject_unlisted_recipient") == "no" &&
		!strings.Contains(restrictions, "reject_unlisted_recipient") {
		return fmt.Errorf("smtpd_reject_unlisted_recipient is no: forged SRS addresses would be accepted. " +
			"Set it to yes, its default")
	}
	names := []string{"virtual_alias_maps", "recipient_canonical_maps", "canonical_maps"}
	if class := domains.Class(domain); class != "" && recipientMaps[class] != "" {
		name := recipientMaps[class]
		if p.config.Get(name) == "" {
			return fmt.Errorf("%s stands in %s, and %s is empty, so that Postfix takes mail for any "+
				"address there: "+remedy,
				domain, class, name, "List the recipients in "+name)
		}
		names = append(names, name)
	}
	for _, name := range names {
		list, err := p.config.Expand(name)
		if err != nil {
			return err
		}
		list, _ = withoutOurs(list)
		for _, table := range postconf.List(list) {
			if domains.takesAny(strings.TrimPrefix(table, "proxy:"), domain) {
				return fmt.Errorf("%s of %s takes any address at %s: "+remedy,
					table, name, domain, "Leave that domain out of it")
			}
		}
	}
	return nil
}

// takesAny asks a table for an SRS address that nobody made, as a whole, by its domain and by its local part.
func (d *Domains) takesAny(table, domain string) bool {
	const nobody = "SRS0=AAAA=AA=setup.invalid=nobody"
	return d.ask(table, nobody+"@"+domain) || d.ask(table, "@"+domain) || d.ask(table, nobody)
}
