// Package domain is about domain names: their canonical form, in which they are compared, alignment in
// DMARC's relaxed mode (RFC 9989 section 4.10), and sets of them. Functions that take a canonical domain do
// not check that it is one.
package domain

import (
	"fmt"
	"strings"

	"golang.org/x/net/idna"

	"postmend/filter/domain/publicsuffix"
)

// Of is the domain of an address, in the form in which domains are compared; "" if it has none.
func Of(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return ""
	}
	return Canonical(address[at+1:])
}

// Canonical lower-cases a domain, drops a final dot, and turns U-labels into A-labels (RFC 5890).
func Canonical(domain string) string {
	domain = strings.TrimSuffix(domain, ".")
	if !isASCII(domain) {
		if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
			domain = strings.TrimSuffix(ascii, ".") // there are other final dots than "."
		}
	}
	return strings.ToLower(domain)
}

// Name gives s in canonical form; "" if it is not a domain name. A single label is one too.
func Name(s string) string {
	s = Canonical(s)
	if s == "" || len(s) > 253 {
		return ""
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return ""
		}
	}
	return s
}

// Above gives the longest name that is above s, of two labels at least; "" if there is none.
func Above(s string) string {
	s = strings.ToLower(s)
	for {
		_, above, found := strings.Cut(s, ".")
		if !found {
			return ""
		}
		if name := Name(above); strings.IndexByte(name, '.') > 0 {
			return name
		}
		s = above
	}
}

// Parse is Name for domains that an operator writes: no label may start or end with a hyphen, and the error
// says what is wrong.
func Parse(s string) (string, error) {
	name := Name(s)
	dotted := "." + name + "."
	if name != "" && !strings.Contains(dotted, ".-") && !strings.Contains(dotted, "-.") {
		return name, nil
	}
	hint := ""
	if strings.Contains(s, "$") {
		hint = "; Postfix's $names are not expanded here, write the name itself"
	}
	return "", fmt.Errorf("%q is not a domain name%s", s, hint)
}

// Set is a set of domains; one entered with a leading dot stands for all its subdomains.
type Set map[string]bool

// Add parses an entry and adds it.
func (s Set) Add(entry string) error {
	name, dotted := strings.CutPrefix(entry, ".")
	domain, err := Parse(name)
	if err != nil {
		return err
	}
	if dotted {
		domain = "." + domain
	}
	s[domain] = true
	return nil
}

// Has expects a canonical domain. It asks once per label.
func (s Set) Has(domain string) bool {
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

// Aligned tells whether two domains are aligned in relaxed mode, that is, have the same organisational
// domain by the public suffix list. One that is not a name is aligned with the organisational domain that
// it is below.
func Aligned(a, b string) bool {
	if a == "" || b == "" || a == b {
		return a != "" && b != ""
	}
	if Name(a) == "" || Name(b) == "" { // the policy of a domain above it applies to what is not a name
		return Within(a, Organisational(b)) || Within(b, Organisational(a))
	}
	// A message may name a hundred thousand domains: most are not looked up in the list.
	return MayAlign(a, b) && Organisational(a) == Organisational(b)
}

// Within tells whether a canonical domain is another one or below it.
func Within(domain, parent string) bool {
	return parent != "" && (domain == parent || strings.HasSuffix(domain, "."+parent))
}

// MayAlign is a quick first look: it tells whether two canonical domains have their last two labels in
// common, without which no way of finding organisational domains aligns them.
func MayAlign(a, b string) bool { return lastTwoLabels(a) == lastTwoLabels(b) }

func lastTwoLabels(domain string) string {
	last := strings.LastIndexByte(domain, '.')
	return domain[strings.LastIndexByte(domain[:max(last, 0)], '.')+1:]
}

// Organisational gives the organisational domain by the public suffix list; the domain itself if that is a
// public suffix.
func Organisational(domain string) string {
	if org, ok := publicsuffix.Registered(domain); ok {
		return org
	}
	return domain // a public suffix itself
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}
