package author

import (
	"strings"
	"unicode"

	"golang.org/x/net/idna"

	"postmend/filter/domain"
)

// plainDomains reads a value, with its folds, that leaves no reader a choice; ok is false for all others. It
// is a list of addresses, or of names with an address in angle brackets. Names are words, encoded words, and
// quoted strings, comments may stand beside them, and what stands in either is no address to any reader but
// those of Stray: "bob@other.example" <a@b.example> (c) is b.example's. So are folds between words. Not plain
// is what some reader trips over: a fold, a quoted address or a special character in a comment or in a quoted
// string (a backslash, an address behind one), a comment within a comment, a quoted local part, an @ in a
// word, a comment or a blank within an address, a comment beside another, a group.
func plainDomains(value string) (domains []string, ok bool) {
	for rest := strings.TrimRight(value, blanks); ; {
		var domain string
		if domain, rest, ok = plainMailbox(rest); !ok {
			return nil, false
		}
		domains = append(domains, domain)
		if rest == "" {
			return domains, true
		}
	}
}

const (
	blanks = " \t\r\n" // and line ends, in a value with folds
)

// plainMailbox reads the first mailbox and the comma behind it.
func plainMailbox(s string) (domain, rest string, ok bool) {
	for i := 0; i < len(s); i++ {
		n := 1
		switch c := s[i]; {
		case c == '"':
			n = plainQuoted(s[i:])
		case c == '(':
			n = plainComment(s[i:])
		case c == '<':
			return plainAddress(s[i+1:], true)
		case c == '@':
			return plainAddress(s, false)
		case c == '=':
			n = plainEncodedWord(s[i:])
		case c == '\r' && !strings.HasPrefix(s[i+1:], "\n"),
			c < ' ' && strings.IndexByte(blanks, c) < 0, c == 0x7f, strings.IndexByte(")>[]:;\\,", c) >= 0:
			return "", "", false
		}
		if n == 0 {
			return "", "", false
		}
		i += n - 1
	}
	return "", "", false
}

// plainQuoted is the length of the quoted string that s starts with, 0 if it is not plain.
func plainQuoted(s string) int {
	hasBackslash, looksLikeAddress := false, false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			isApart := i+1 == len(s) || strings.IndexByte(blanks+"<(", s[i+1]) >= 0
			if hasBackslash && looksLikeAddress || !isApart {
				return 0
			}
			return i + 1
		case c == '\\':
			hasBackslash = true
			i++
		case c == '@' || c == '<' || c == '>':
			looksLikeAddress = true
		case c < ' ' && c != '\t' || c == 0x7f:
			return 0
		}
	}
	return 0
}

// plainComment is the length of the comment that s starts with, 0 if it is not plain.
func plainComment(s string) int {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == ')':
			return i + 1
		case strings.IndexByte("(<>[]:;\\,\"", c) >= 0, c < ' ' && c != '\t', c == 0x7f:
			return 0
		}
	}
	return 0
}

// plainEncodedWord is the length of the encoded word that s starts with, which mailers fill with commas and
// colons, too; 1 if there is none.
func plainEncodedWord(s string) int {
	if _, n := encodedWord(s); n > 0 && !strings.ContainsAny(s[:n], "()<>[]\\\"@;"+blanks) {
		return n
	}
	return 1
}

// plainAddress reads the address at the beginning of s, and what separates it from the next.
func plainAddress(s string, inAngle bool) (domain, rest string, ok bool) {
	local, rest, ok := strings.Cut(s, "@")
	if !inAngle {
		local = strings.TrimLeft(local, blanks)
	}
	if !ok || local == "" || strings.ContainsAny(local, specials) || strings.Contains(local, "=?") ||
		!isVisibleASCII(local) {
		return "", "", false
	}
	end := 0
	for end < len(rest) && isDomainOctet(rest[end]) {
		end++
	}
	domain, ok = plainDomain(rest[:end])
	if rest = rest[end:]; inAngle {
		ok = ok && strings.HasPrefix(rest, ">")
		rest = strings.TrimPrefix(rest, ">")
	}
	if rest = strings.TrimLeft(rest, blanks); strings.HasPrefix(rest, "(") {
		n := plainComment(rest)
		if n == 0 {
			return "", "", false
		}
		rest = strings.TrimLeft(rest[n:], blanks)
	}
	if rest != "" {
		ok = ok && rest[0] == ',' && len(rest) > 1
		rest = rest[1:]
	}
	return domain, rest, ok
}

// plainDomain takes names with a dot, and none at the end, where Python takes a display name for the address.
// In names that are not ASCII, it takes letters and digits only.
func plainDomain(s string) (name string, ok bool) {
	if !isASCII(s) {
		isOdd := func(r rune) bool {
			return r >= 0x80 && !unicode.In(r, unicode.Letter, unicode.Mark, unicode.Digit)
		}
		if _, err := idna.Lookup.ToASCII(s); err != nil || strings.ContainsFunc(s, isOdd) ||
			len(spellings(s)) > 1 {
			return "", false
		}
	}
	name, err := domain.Parse(s)
	return name, err == nil && strings.IndexByte(name, '.') > 0 && !strings.HasSuffix(s, ".")
}

func isVisibleASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

func indexControl(s string) int {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
