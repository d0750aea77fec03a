package authn

import (
	"errors"
	"slices"
	"strings"

	"postmend/filter/domain"
)

const (
	maxField   = 64 << 10 // octets of a field that is read
	maxResults = 100      // results of a field that is read
	maxProps   = 50       // properties of a result that is read
)

var (
	errTooLong    = errors.New("the field is too long for Authentication-Results")
	errNotStrict  = errors.New("the field does not follow RFC 8601")
	errNewVersion = errors.New("the field has a version that is not known")
)

// Parse reads the value of an Authentication-Results field that is to be believed, raw, with its folds: by
// the grammar of RFC 8601 section 2.2, so that there is one way to read it. A field that deviates anywhere is
// an error as a whole.
//
// What filters in wide use write beside that grammar is accepted where it can mean only one thing: properties
// without a type (Microsoft's action=none), a reason among the properties, a final semicolon, and in a value
// without quotes all that cannot end it (Ab/c=). Quoted pairs are not accepted in the authserv-id: no filter
// writes them, and one that removes forged fields may not see through them.
//
// A method whose results contradict each other proves nothing, see withoutContradictions.
func Parse(value []byte) (*AuthRes, error) {
	if len(value) > maxField {
		return nil, errTooLong
	}
	s := &strictScanner{}
	if s.rest = unfolded(value); s.rest == "" {
		return nil, errNotStrict
	}
	s.cfws()
	a := &AuthRes{ID: strings.ToLower(s.id())}
	hasGap := s.cfws()
	if s.rest != "" && s.rest[0] != ';' {
		version := s.run(isDigit)
		if version == "" || !hasGap {
			return nil, errNotStrict
		}
		if version != "1" {
			return nil, errNewVersion
		}
		s.cfws()
	}
	for s.rest != "" && !s.failed {
		if len(a.Results) >= maxResults || !s.take(';') {
			return nil, errNotStrict
		}
		if r, ok := s.result(); ok {
			a.Results = append(a.Results, r)
		}
	}
	if s.failed || a.ID == "" {
		return nil, errNotStrict
	}
	a.Results = withoutContradictions(a.Results)
	return a, nil
}

// IsOf tells whether a field that was read strictly is of authservID: in any case of letters, and otherwise
// exactly. A name in U-labels stands for its A-labels.
func (a *AuthRes) IsOf(authservID string) bool {
	if strings.ContainsFunc(authservID, func(r rune) bool { return r >= 0x80 }) {
		authservID = domain.Name(authservID)
	}
	return authservID != "" && a.ID == strings.ToLower(authservID)
}

// unfolded joins the lines of a value; it is "" if there are other control characters than those of its
// folds.
func unfolded(value []byte) string {
	text := strings.TrimSuffix(strings.ReplaceAll(string(value), "\r\n", "\n"), "\n")
	text = strings.NewReplacer("\n ", " ", "\n\t", "\t").Replace(text)
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return ""
	}
	return text
}

// strictScanner reads a value from left to right, without its folds.
type strictScanner struct {
	rest   string
	failed bool
}

// cfws passes over blanks and comments, and tells whether there are any.
func (s *strictScanner) cfws() bool {
	before := len(s.rest)
	for {
		s.rest = strings.TrimLeft(s.rest, " \t")
		if s.rest == "" || s.rest[0] != '(' {
			return len(s.rest) < before
		}
		inner := scanner{rest: s.rest}
		inner.comment()
		s.rest, s.failed = inner.rest, s.failed || inner.broken
	}
}

func (s *strictScanner) take(c byte) bool {
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// must is take for what has to be there, with blanks and comments around it.
func (s *strictScanner) must(c byte) {
	s.cfws()
	if !s.take(c) {
		s.failed = true
	}
	s.cfws()
}

// run reads the octets that are of a kind.
func (s *strictScanner) run(is func(c byte) bool) string {
	end := 0
	for end < len(s.rest) && is(s.rest[end]) {
		end++
	}
	run := s.rest[:end]
	s.rest = s.rest[end:]
	return run
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isKeyword(c byte) bool { return isAlnum(rune(c)) || c == '-' || c == '_' }

// isTokenOctet is RFC 2045 section 5.1.
func isTokenOctet(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, c) < 0
}

// isBare is true for what cannot be the end of a value without quotes.
func isBare(c byte) bool { return c > ' ' && strings.IndexByte(`()";\`, c) < 0 }

// keyword reads a name, in lower case; there has to be one.
func (s *strictScanner) keyword() string {
	word := strings.ToLower(s.run(isKeyword))
	s.failed = s.failed || word == ""
	return word
}

// id reads a token or a quoted string. What follows has to be apart from it.
func (s *strictScanner) id() string {
	id := s.run(isTokenOctet)
	if id == "" {
		before := s.rest
		id = s.quoted()
		isOdd := func(r rune) bool { return r == '\\' || r >= 0x80 }
		s.failed = s.failed || strings.ContainsFunc(before[:len(before)-len(s.rest)], isOdd)
	}
	s.failed = s.failed || s.rest != "" && strings.IndexByte(" \t(;", s.rest[0]) < 0
	return id
}

// quoted reads a quoted string.
func (s *strictScanner) quoted() string {
	inner := scanner{rest: s.rest}
	if !s.take('"') {
		s.failed = true
		return ""
	}
	var b strings.Builder
	inner.quoted(&b)
	s.rest, s.failed = inner.rest, s.failed || inner.broken
	return b.String()
}

// value reads what stands behind the = of a property: a quoted string, which a domain may follow as in "a
// b"@example.org, or all up to a blank, a comment or a semicolon. It may be empty.
func (s *strictScanner) value() string {
	text := ""
	if strings.HasPrefix(s.rest, `"`) {
		if text = s.quoted(); strings.HasPrefix(s.rest, "@") {
			text += s.run(isBare)
		}
	} else {
		text = s.run(isBare)
	}
	s.failed = s.failed || s.rest != "" && strings.IndexByte(" \t(;", s.rest[0]) < 0
	return text
}

// result reads what stands behind a semicolon. It is not ok if there is nothing, or "none" alone.
func (s *strictScanner) result() (r Result, ok bool) {
	if s.cfws(); s.rest == "" || s.rest[0] == ';' {
		return r, false
	}
	r.Method = s.keyword()
	s.cfws()
	if r.Method == "none" && s.rest == "" {
		return r, false
	}
	if s.take('/') {
		s.cfws()
		s.failed = s.failed || s.run(isDigit) != "1"
	}
	s.must('=')
	r.Status = Status(s.keyword())
	for !s.failed {
		hasGap := s.cfws()
		if s.rest == "" || s.rest[0] == ';' {
			break
		}
		s.failed = s.failed || !hasGap
		s.property(&r)
	}
	return r, true
}

// property reads type.name=value, or name=value without a type, which counts only if it is a reason.
func (s *strictScanner) property(r *Result) {
	p := Prop{Type: s.keyword()}
	s.cfws()
	hasType := s.take('.')
	if hasType {
		s.cfws()
		p.Name = s.keyword()
	}
	s.must('=')
	p.Value = s.value()
	isSame := func(other Prop) bool { return other.Type == p.Type && other.Name == p.Name }
	switch {
	case hasType && (len(r.Props) >= maxProps || slices.ContainsFunc(r.Props, isSame)):
		s.failed = true
	case hasType:
		r.Props = append(r.Props, p)
	case p.Type == "reason":
		r.Reason = p.Value
	}
}

// withoutContradictions makes permerror of all results of SPF for one identity, of DMARC or of ARC, if they
// are not the same: a message has one sender, one author and one chain. Signatures are many, and each has its
// result; only if the same one is told to be two things, it is neither.
func withoutContradictions(results []Result) []Result {
	about := make([]string, len(results))
	said := map[string]string{}
	contradicted := map[string]bool{}
	for i, r := range results {
		says := string(r.Status)
		switch r.Method {
		case "spf":
			spf := trustedSPF(r)
			about[i], says = "spf "+spf.Identity, says+" "+spf.Domain
		case "dmarc":
			about[i], says = "dmarc", says+" "+domain.Name(r.Prop("header.from"))
		case "arc":
			about[i] = "arc"
		case "dkim":
			if r.Prop("header.b") != "" {
				about[i] = "dkim"
				for _, name := range [...]string{"d", "i", "s", "a", "b"} {
					about[i] += " " + r.Prop("header."+name)
				}
			}
		}
		if before, ok := said[about[i]]; ok && before != says {
			contradicted[about[i]] = true
		}
		said[about[i]] = says
	}
	for i := range results {
		if about[i] != "" && contradicted[about[i]] {
			results[i].Status = PermError
		}
	}
	return results
}
