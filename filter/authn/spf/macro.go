package spf

import "strings"

const (
	maxName = 253 // octets of a domain name, without final dot (section 7.3)

	// maxExpanded bounds the expanded macros of one check, in octets. Ten terms with several macros need a
	// few thousand; but a record of 64 KB could ask for a name of some MB, only to cut it to 253 octets.
	maxExpanded = 64 << 10
)

// delimiters are where a macro may split its value (section 7.1).
const delimiters = ".-+,/_="

// macro is a "%{" ... "}" (section 7.1).
type macro struct {
	letter  byte // in lower case
	escape  bool // it was upper case
	keep    int  // how many parts from the right; 0 means all
	reverse bool
	split   uint8 // bits of the delimiters, by their place in the constant
}

// parseMacro reads a macro at the start of s, which begins with %, and gives its length; 0 if there is
// none. One of %%, %_ and %- has no letter.
func parseMacro(s string) (m macro, length int) {
	if len(s) < 2 {
		return m, 0
	}
	switch s[1] {
	case '%', '_', '-':
		return m, 2
	case '{':
	default:
		return m, 0
	}
	end := strings.IndexByte(s, '}')
	if end < 3 {
		return m, 0
	}
	// Section 7.2: c, r and t are for the text of explanations only.
	if m.letter = s[2] | 0x20; strings.IndexByte("slodiphv", m.letter) < 0 {
		return m, 0
	}
	m.escape = s[2] != m.letter
	i := 3
	for ; isDigit(s[i]); i++ {
		m.keep = min(10*m.keep+int(s[i]-'0'), 1<<16)
	}
	if i > 3 && m.keep == 0 { // section 7.3
		return m, 0
	}
	if s[i]|0x20 == 'r' {
		m.reverse = true
		i++
	}
	for ; i < end; i++ {
		place := strings.IndexByte(delimiters, s[i])
		if place < 0 {
			return m, 0
		}
		m.split |= 1 << place
	}
	return m, end + 1
}

// scanMacros checks a macro-string (section 7.1), and gives the end of its last macro; 0 if it has none.
func scanMacros(s string) (end int, err error) {
	for {
		start := strings.IndexByte(s[end:], '%')
		if start < 0 {
			return end, nil
		}
		_, length := parseMacro(s[end+start:])
		if length == 0 {
			return 0, problem("invalid macro")
		}
		end += start + length
	}
}

// expand makes a name of a checked domain-spec (section 7.3).
func (e *evaluation) expand(spec, domain string) (string, error) {
	name := spec
	if strings.IndexByte(spec, '%') >= 0 {
		var room [2 * maxName]byte
		expanded, err := e.appendExpanded(room[:0], spec, domain)
		if err != nil {
			return "", err
		}
		name = string(expanded)
	}
	name = strings.TrimSuffix(name, ".")
	for len(name) > maxName { // labels go from the left until it fits
		_, name, _ = strings.Cut(name, ".")
	}
	return name, nil
}

func (e *evaluation) appendExpanded(to []byte, spec, domain string) ([]byte, error) {
	for {
		start := strings.IndexByte(spec, '%')
		if start < 0 {
			return append(to, spec...), nil
		}
		to = append(to, spec[:start]...)
		m, length := parseMacro(spec[start:])
		switch spec[start+1] {
		case '%':
			to = append(to, '%')
		case '_':
			to = append(to, ' ')
		case '-':
			to = append(to, "%20"...)
		default:
			value, err := e.value(m.letter, domain)
			if err != nil {
				return nil, err
			}
			if e.expanded += len(value); e.expanded > maxExpanded {
				return nil, problem("macros expand to too long a name")
			}
			if e.whole {
				m.keep = 0
			}
			to = m.append(to, value)
		}
		spec = spec[start+length:]
	}
}

// value is a macro's value before it is transformed (section 7.2).
func (e *evaluation) value(letter byte, domain string) (string, error) {
	switch letter {
	case 's':
		return e.Local + "@" + e.Domain, nil
	case 'l':
		return e.Local, nil
	case 'o':
		return e.Domain, nil
	case 'd':
		return domain, nil
	case 'i':
		e.byAddress = true
		return e.dottedAddress(), nil
	case 'p':
		return e.validatedName(domain)
	case 'h':
		return e.HELO, nil
	}
	if e.IP.Is4() {
		return "in-addr", nil
	}
	return "ip6", nil
}

// dottedAddress is the client's address with dots between its octets, or its nibbles (section 7.3).
func (e *evaluation) dottedAddress() string {
	if e.IP.Is4() {
		return e.IP.String()
	}
	const hex = "0123456789abcdef"
	var text [64]byte
	for i, octet := range e.IP.As16() {
		text[4*i], text[4*i+1], text[4*i+2], text[4*i+3] = hex[octet>>4], '.', hex[octet&15], '.'
	}
	return string(text[:63])
}

// append transforms a value (section 7.3): it is split at the delimiters, reversed, cut to its parts on the
// right, and joined with dots.
func (m macro) append(to []byte, value string) []byte {
	if m.split == 0 {
		m.split = 1 // the dot
	}
	if !m.reverse {
		return m.appendParts(to, value[m.lastParts(value):])
	}
	// The rightmost parts of what is reversed are the first ones.
	for value = value[:m.firstParts(value)]; ; to = append(to, '.') {
		start := len(value)
		for start > 0 && !m.isDelimiter(value[start-1]) {
			start--
		}
		to = m.appendParts(to, value[start:])
		if start == 0 {
			return to
		}
		value = value[:start-1]
	}
}

// lastParts is where the last m.keep parts begin.
func (m macro) lastParts(value string) int {
	parts := 0
	for i := len(value) - 1; i >= 0; i-- {
		if m.isDelimiter(value[i]) {
			if parts++; parts == m.keep {
				return i + 1
			}
		}
	}
	return 0
}

// firstParts is where the first m.keep parts end.
func (m macro) firstParts(value string) int {
	parts := 0
	for i := range len(value) {
		if m.isDelimiter(value[i]) {
			if parts++; parts == m.keep {
				return i
			}
		}
	}
	return len(value)
}

func (m macro) isDelimiter(c byte) bool {
	place := strings.IndexByte(delimiters, c)
	return place >= 0 && m.split>>place&1 != 0
}

// appendParts puts dots for the delimiters. Upper-case macros are escaped afterwards (section 7.3): all but
// what RFC 3986 section 2.3 calls unreserved.
func (m macro) appendParts(to []byte, parts string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(parts) {
		switch c := parts[i]; {
		case m.isDelimiter(c):
			to = append(to, '.')
		case m.escape && !isAlpha(c) && !isDigit(c) && strings.IndexByte("-._~", c) < 0:
			to = append(to, '%', hex[c>>4], hex[c&15])
		default:
			to = append(to, c)
		}
	}
	return to
}
