package authn

import (
	"strings"

	"postmend/filter/domain"
)

// ClaimsToBe tells whether anybody could take an Authentication-Results field, given its raw value, for one
// of authservID. Such a field from outside is forged and has to be removed (RFC 8601 section 5). It is read
// widely, as Parse is not: a field that is too broken to say, or has what cannot be in such a name, counts if
// the name is anywhere in it.
func ClaimsToBe(value []byte, authservID string) bool {
	text := string(value) // all of it: a long comment is not to hide the name
	want := comparableID(authservID)
	s := &scanner{rest: text}
	if id := s.value(); isToken(id) && !s.broken {
		return comparableID(id) == want
	}
	return want != "" && strings.Contains(strings.ToLower(text), want)
}

// comparableID is the form in which authserv-ids are compared; they are domain names as a rule, but need not
// be.
func comparableID(id string) string {
	if domain := domain.Name(id); domain != "" {
		return domain
	}
	return strings.ToLower(id)
}

// scanner reads a field from left to right; each octet is looked at once.
type scanner struct {
	rest   string
	broken bool // a comment or quoted string has no end
}

// skip passes over blanks, folds and comments (RFC 5322 section 3.2.2).
func (s *scanner) skip() {
	for s.rest != "" {
		switch s.rest[0] {
		case ' ', '\t', '\r', '\n':
			s.rest = s.rest[1:]
		case '(':
			s.comment()
		default:
			return
		}
	}
}

// comment passes over a comment, with those in it. It counts them instead of calling itself.
func (s *scanner) comment() {
	depth := 0
	for i := 0; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				s.rest = s.rest[i+1:]
				return
			}
		}
	}
	s.rest, s.broken = "", true
}

// value reads a token, a quoted string, or several of these without anything in between, as in "a
// b"@example.org.
func (s *scanner) value() string {
	s.skip()
	var b strings.Builder
	for s.rest != "" {
		if s.rest[0] == '"' {
			s.quoted(&b)
			continue
		}
		end := strings.IndexAny(s.rest, " \t\r\n;(\"")
		if end < 0 {
			end = len(s.rest)
		}
		if end == 0 {
			break
		}
		b.WriteString(strings.ReplaceAll(s.rest[:end], "\x00", ""))
		s.rest = s.rest[end:]
	}
	return b.String()
}

// quoted unquotes a quoted string; folds and NUL in it are dropped.
func (s *scanner) quoted(b *strings.Builder) {
	for i := 1; i < len(s.rest); i++ {
		c := s.rest[i]
		switch c {
		case '"':
			s.rest = s.rest[i+1:]
			return
		case '\\':
			if i++; i < len(s.rest) {
				c = s.rest[i]
			}
		}
		if c != '\r' && c != '\n' && c != 0 {
			b.WriteByte(c)
		}
	}
	s.rest, s.broken = "", true
}
