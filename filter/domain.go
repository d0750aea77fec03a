package filter

import (
	"fmt"
	"strings"

	"golang.org/x/net/idna"

	"postmend/filter/authn/publicsuffix"
)

// domainOf is the domain of an address, in the form in which domains are compared; "" if it has none.
func domainOf(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return ""
	}
	return canonicalDomain(address[at+1:])
}

// canonicalDomain lower-cases a domain, drops a final dot, and turns U-labels into A-labels (RFC 5890).
func canonicalDomain(domain string) string {
	domain = strings.TrimSuffix(domain, ".")
	if !isASCII(domain) {
		if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
			domain = strings.TrimSuffix(ascii, ".") // there are other final dots than "."
		}
	}
	return strings.ToLower(domain)
}

// parseDomain checks that s, from the configuration, is a domain and gives it in canonical form.
func parseDomain(s string) (string, error) {
	domain := canonicalDomain(s)
	bad := domain == "" || len(domain) > 253
	for label := range strings.SplitSeq(domain, ".") {
		bad = bad || label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != ""
	}
	if bad {
		hint := ""
		if strings.Contains(s, "$") {
			hint = "; Postfix's $names are not expanded here, write the name itself"
		}
		return "", fmt.Errorf("%q is not a domain name%s", s, hint)
	}
	return domain, nil
}

// IsDomain tells whether s is a domain name that the configuration takes.
func IsDomain(s string) bool {
	_, err := parseDomain(s)
	return err == nil
}

// domainSet is a set of domains; one entered with a leading dot stands for all its subdomains.
type domainSet map[string]bool

func (s domainSet) add(entry string) error {
	name, dotted := strings.CutPrefix(entry, ".")
	domain, err := parseDomain(name)
	if err != nil {
		return err
	}
	if dotted {
		domain = "." + domain
	}
	s[domain] = true
	return nil
}

// has expects a canonical domain. It asks once per label.
func (s domainSet) has(domain string) bool {
	if s[domain] {
		return true
	}
	for i := strings.IndexByte(domain, '.'); i >= 0; {
		if s[domain[i:]] {
			return true
		}
		next := strings.IndexByte(domain[i+1:], '.')
		if next < 0 {
			return false
		}
		i += 1 + next
	}
	return false
}

// aligned tells whether two canonical domains are aligned in relaxed mode, that is, have the same organisational
// domain. It goes by the public suffix list.
func aligned(a, b string) bool {
	if a == "" || b == "" || a == b {
		return a != "" && b != ""
	}
	// Else they share two labels at least; a message may name a hundred thousand domains that do not share them with one of ours.
	return lastTwoLabels(a) == lastTwoLabels(b) && organisational(a) == organisational(b)
}

// isWithin tells whether a canonical domain is another one or below it.
func isWithin(domain, parent string) bool {
	return parent != "" && (domain == parent || strings.HasSuffix(domain, "."+parent))
}

func lastTwoLabels(domain string) string {
	last := strings.LastIndexByte(domain, '.')
	return domain[strings.LastIndexByte(domain[:max(last, 0)], '.')+1:]
}

func organisational(domain string) string {
	if org, ok := publicsuffix.Registered(domain); ok {
		return org
	}
	return domain // a public suffix itself
}
