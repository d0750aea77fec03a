package author

import "strings"

// Stray gives the domains of addresses that stand in the names and comments of a plain field, where verifiers
// in use take them for the author's. They are canonical, and may repeat.
//
//   - Mail::DMARC and qpsmtpd take what follows the last @ of the field, also if that is in a comment behind
//     the address; Haraka decodes encoded words first.
//   - Mail::Milter::Authentication takes a quoted string that is an address for one, unless an angle bracket
//     follows at once. No quote behind a backslash ends a quoted string, even if the backslash is escaped.
//
// Most addresses in names are of another kind, such as "bob@example.org" <notify@service.example>, which no
// verifier reads in that way.
func (f Fields) Stray() (domains []string) {
	if len(f) != 1 {
		return nil // not plain
	}
	value := f[0]
	if _, ok := plainDomains(value); !ok || !hasStray(value) {
		return nil
	}
	for _, text := range [...]string{value, dropNULs(decodeLeniently(value))} { // UTF-16 has NULs
		domainsBehindAt(text, func(name string) { domains = append(domains, name) })
	}
	return domains
}

// hasStray tells whether a plain value has an @ where Stray looks for addresses.
func hasStray(value string) bool {
	hasBackslash := strings.IndexByte(value, '\\') >= 0
	for rest := value; ; {
		start := strings.IndexAny(rest, `("`)
		if start < 0 {
			return false
		}
		rest = rest[start:]
		n := plainComment(rest)
		isQuoted := rest[0] == '"'
		if isQuoted {
			n = plainQuoted(rest)
		}
		if n == 0 { // never, in a plain value
			return true
		}
		name := rest[:n]
		rest = rest[n:]
		isBeforeAngle := isQuoted && !hasBackslash && strings.HasPrefix(strings.TrimLeft(rest, blanks), "<")
		if !isBeforeAngle && strings.Contains(decodeLeniently(name), "@") {
			return true
		}
	}
}
