package setup

import (
	"strings"

	"golang.org/x/net/idna"
)

// canonical gives a domain of Postfix's as domains are compared: A-labels (RFC 5890) in lower case. Postfix
// itself takes either spelling as it is written. A leading dot stays.
func canonical(domain string) string {
	domain = strings.ToLower(domain)
	name, dotted := strings.CutPrefix(domain, ".")
	ascii, err := idna.Lookup.ToASCII(name)
	if err != nil || isName(name) {
		return domain
	}
	if dotted {
		ascii = "." + ascii
	}
	return ascii
}

// spellings are a canonical domain and, if it has A-labels, its U-labels: a table has it as the operator
// wrote it.
func spellings(domain string) []string {
	if unicode, err := idna.Lookup.ToUnicode(domain); err == nil && unicode != domain {
		return []string{domain, unicode}
	}
	return []string{domain}
}
