package setup

import (
	"fmt"
	"regexp"
	"strings"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
)

// addSRS makes bounces to SRS addresses come home: a table verifies them at RCPT TO and gives the original
// recipient to cleanup(8).
//
// It stands in virtual_alias_maps, which disturbs least: recipient_canonical_maps would rewrite headers too,
// unless recipient_canonical_classes is changed for the operator's own tables as well.
func (p *Plan) addSRS(domains *Domains) {
	domain := p.wanted.SRSDomain
	if domain == "" {
		p.note("the configuration has no SRS domain: senders are not rewritten, and no table is set up")
		return
	}
	p.setService(layout.ReverseID, p.program().ReverseLine(),
		"spawn(8) starts postmend to look up SRS addresses")

	class := domains.Class(domain)
	if _, found := withoutOurs(p.config.Get("recipient_canonical_maps")); !found {
		isAlias := class == "" || class == "virtual_alias_domains"
		p.addTable(domain, isAlias && !p.hasAlias(domains, "postmaster@"+domain))
	}
	if class == "" {
		p.set("virtual_alias_domains", joined(p.config.Get("virtual_alias_domains"), domain),
			"mail for the SRS domain is accepted; unknown addresses are rejected")
	}
	p.replacePostSRSd()
}

// addTable puts our tables first: a pattern of the operator's that takes any address would answer for SRS
// addresses, too.
//
// A regular expression lets only SRS addresses through to the service, so that trouble with it delays bounces
// and nothing else. The pattern stands in a file. In main.cf its dollar would be doubled, and Postfix expands
// such a parameter as often as others refer to it: virtual_alias_domains is $virtual_alias_maps by default,
// and proxy_read_maps names both.
func (p *Plan) addTable(domain string, withPostmaster bool) {
	pattern := fmt.Sprintf(`/^(SRS[01][-+=].*@%s)$/ $1`, regexp.QuoteMeta(domain))
	guard := p.table(srsFile, pattern, "passes only SRS addresses to postmend")
	ours := fmt.Sprintf("pipemap:{%s, %s}", guard, layout.ReverseMap)
	p.reverseTable = ours
	if withPostmaster {
		pattern := fmt.Sprintf(`/^postmaster@%s$/ postmaster`, regexp.QuoteMeta(domain))
		ours = joined(ours, p.table(postmasterFile, pattern,
			"postmaster@ the SRS domain is this host's postmaster (RFC 5321 section 4.5.1)"))
	}
	rest := ""
	if p.config.IsSet("virtual_alias_maps") || p.config.IsSet("virtual_maps") {
		rest, _ = withoutOurs(p.config.Get("virtual_alias_maps"))
	}
	p.set("virtual_alias_maps", joined(ours, rest), "SRS addresses of this server are verified, and "+
		"bounces go to the original sender")
}

// hasAlias tells whether the operator's virtual_alias_maps take an address.
func (p *Plan) hasAlias(domains *Domains, address string) bool {
	list, err := p.config.Expand("virtual_alias_maps")
	if err != nil {
		return false
	}
	list, _ = withoutOurs(list)
	_, domain, _ := strings.Cut(address, "@")
	for _, table := range postconf.List(list) {
		table = strings.TrimPrefix(table, "proxy:")
		if domains.ask(table, address) || domains.ask(table, "@"+domain) {
			return true
		}
	}
	return false
}

// withoutOurs takes our tables out of a list.
func withoutOurs(list string) (rest string, found bool) {
	var kept []string
	for _, item := range postconf.List(list) {
		if isOurs(item) {
			found = true
			continue
		}
		kept = append(kept, item)
	}
	if !found {
		return list, false
	}
	return strings.Join(kept, ", "), true
}

func isOurs(table string) bool {
	return strings.Contains(table, layout.ReverseMap) ||
		strings.HasPrefix(table, "regexp:") && strings.HasSuffix(table, "/"+postmasterFile)
}

func joined(list, more string) string {
	if list == "" || more == "" {
		return list + more
	}
	return list + ", " + more
}

// replacePostSRSd takes the table out that rewrites senders before postmend sees them: SPF and DMARC would be
// judged for the wrong sender. Its table for recipients stays, and answers for the addresses that it made.
func (p *Plan) replacePostSRSd() {
	var kept, taken []string
	for _, table := range postconf.List(p.config.Get("sender_canonical_maps")) {
		if IsPostSRSd(table, "forward") {
			taken = append(taken, table)
		} else {
			kept = append(kept, table)
		}
	}
	if len(taken) == 0 {
		return
	}
	const why = "postmend rewrites the senders now; PostSRSd would hide them from it"
	if len(kept) > 0 {
		p.set("sender_canonical_maps", strings.Join(kept, ", "), why)
	} else {
		p.unset("sender_canonical_maps", why)
	}
	p.note("PostSRSd's table %s is removed from sender_canonical_maps; the one in recipient_canonical_maps "+
		"stays, for bounces to addresses that it made. When these are three weeks old, remove it, too, and "+
		"stop PostSRSd", strings.Join(taken, ", "))
}

// IsPostSRSd knows a table of PostSRSd 1 by its port, and one of PostSRSd 2 by its name. Direction is
// "forward" or "reverse".
func IsPostSRSd(table, direction string) bool {
	port := map[string]string{"forward": ":10001", "reverse": ":10002"}[direction]
	return strings.HasPrefix(table, "tcp:") && strings.HasSuffix(table, port) ||
		strings.HasPrefix(table, "socketmap:") && strings.HasSuffix(table, ":"+direction)
}
