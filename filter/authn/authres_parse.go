package authn

import (
	"errors"
	"strings"

	"postmend/filter/domain"
)

const (
	maxField   = 64 << 10 // octets of a field that is read
	maxResults = 100      // results that are read; more are passed over
	maxProps   = 50       // properties of a result that are read
)

var (
	errTooLong = errors.New("the field is too long for Authentication-Results")
	errNoID    = errors.New("the field has no authserv-id")
)

// Parse reads the value of an Authentication-Results field, raw, with its folds, or that of an ARC-Authentication-Results field after its
// instance. It goes on where others deviate from RFC 8601: a result that cannot be read is left out, and a value ends at the next blank,
// comment or semicolon. The error is for a field that says nothing: without authserv-id, or longer than 64 KiB.
func Parse(value []byte) (*AuthRes, error) {
	if len(value) > maxField {
		return nil, errTooLong
	}
	s := &scanner{rest: string(value)}
	id := s.value()
	if id == "" {
		return nil, errNoID
	}
	a := &AuthRes{ID: strings.ToLower(id)}
	s.skip()
	if s.rest != "" && s.rest[0] != ';' {
		a.Version = s.value()
	}
	for s.nextResult() && len(a.Results) < maxResults {
		if r, ok := s.result(); ok {
			a.Results = append(a.Results, r)
		}
	}
	return a, nil
}

// ClaimsToBe tells whether an Authentication-Results field, given its raw value, would be taken for one of authservID. Such a field
// that arrives from outside is forged and has to go (RFC 8601 section 5). One that is too broken to say, or has what cannot be in such a name, counts if the name is in it.
func ClaimsToBe(value []byte, authservID string) bool {
	text := string(value) // all of it: a long comment is not to hide the name
	want := comparableID(authservID)
	s := &scanner{rest: text}
	if id := s.value(); isToken(id) && !s.broken {
		return comparableID(id) == want
	}
	return want != "" && strings.Contains(strings.ToLower(text), want)
}

// comparableID is the form in which authserv-ids are compared; they are domain names as a rule, but need not be.
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

// value reads a token, a quoted string, or several of these without anything in between, as in "a b"@example.org.
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

// word reads letters, digits, hyphens and underscores, in lower case.
func (s *scanner) word() string {
	s.skip()
	end := 0
	for end < len(s.rest) && (isAlnum(rune(s.rest[end])) || s.rest[end] == '-' || s.rest[end] == '_') {
		end++
	}
	word := strings.ToLower(s.rest[:end])
	s.rest = s.rest[end:]
	return word
}

// take passes over a character if it is next.
func (s *scanner) take(c byte) bool {
	s.skip()
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// nextResult goes on to what follows the next semicolon.
func (s *scanner) nextResult() bool {
	for s.rest != "" {
		if s.take(';') {
			return true
		}
		if s.value() == "" && s.rest != "" && s.rest[0] != ';' {
			s.rest = s.rest[1:]
		}
	}
	return false
}

// result reads method/version = result, a reason, and properties; what else there is of the form name=value is passed over. A field's "none" is no result.
func (s *scanner) result() (r Result, ok bool) {
	r.Method = s.word()
	if s.take('/') {
		s.word()
	}
	if r.Method == "" || !s.take('=') {
		return r, false
	}
	r.Status = Status(s.word())
	for len(r.Props) < maxProps {
		name := s.word()
		switch {
		case name != "" && s.take('='): // Microsoft has an action= here
			if value := s.value(); name == "reason" {
				r.Reason = value
			}
		case name != "" && s.take('.'):
			p := Prop{Type: name, Name: s.word()}
			if p.Name == "" || !s.take('=') {
				return r, r.Status != ""
			}
			p.Value = s.value()
			r.Props = append(r.Props, p)
		default:
			return r, r.Status != ""
		}
	}
	return r, r.Status != ""
}
