package spf

import (
	"net/netip"
	"strings"
)

// problem is why a record cannot be evaluated: a permerror, except noAnswer.
type problem string

func (p problem) Error() string { return string(p) }

// maxTerm bounds what is shown of a term that is not valid, in octets.
const maxTerm = 100

// badTerm is the problem of a term.
type badTerm struct {
	error
	term string
}

// included is the permerror of an included record.
type included struct{ Result }

func (i *included) Error() string { return i.Reason }

const version = "v=spf1"

// pick finds the SPF record among a name's TXT records (section 4.5), and how many there are.
func pick(texts []string) (record string, count int) {
	for _, text := range texts {
		if len(text) >= len(version) && strings.EqualFold(text[:len(version)], version) &&
			(len(text) == len(version) || text[len(version)] == ' ') {
			record = text
			count++
		}
	}
	return record, count
}

// record is an SPF record whose syntax was checked completely (section 4.6).
type record struct {
	terms    string // what follows the version
	redirect string // a domain-spec; "" if there is none
}

// parseRecord checks all terms. It does not keep them; they are parsed again when they are evaluated, so
// that a hostile record uses no memory.
func parseRecord(text string) (record, error) {
	r := record{terms: text[len(version):]}
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' { // section 3.1, and the ABNF has only spaces between terms
			return r, problem("the record contains octets other than printable ASCII")
		}
	}
	explained := false
	for field := range strings.SplitSeq(r.terms, " ") {
		if field == "" {
			continue
		}
		name, value, isModifier := cutModifier(field)
		var err error
		switch {
		case !isModifier:
			_, err = parseDirective(field)
		case strings.EqualFold(name, "redirect"):
			if r.redirect != "" {
				return r, problem("redirect= occurs twice") // section 6
			}
			r.redirect, err = value, checkDomainSpec(value)
		case strings.EqualFold(name, "exp"):
			if explained {
				return r, problem("exp= occurs twice") // section 6
			}
			explained, err = true, checkDomainSpec(value)
		default:
			_, err = scanMacros(value) // section 6: an unknown modifier has a macro-string
		}
		if err != nil {
			return r, &badTerm{err, field[:min(len(field), maxTerm)]}
		}
	}
	return r, nil
}

// cutModifier cuts at an = that comes before any : or / (section 4.6.1). It is false for other terms.
func cutModifier(field string) (name, value string, ok bool) {
	end := strings.IndexAny(field, "=:/")
	if end <= 0 || field[end] != '=' {
		return "", "", false
	}
	for i := range end {
		if c := field[i]; !isAlpha(c) && (i == 0 || !isDigit(c) && c != '-' && c != '_' && c != '.') {
			return "", "", false
		}
	}
	return field[:end], field[end+1:], true
}

type mechanism uint8

const (
	all mechanism = iota
	include
	a
	mx
	ptr
	ip4
	ip6
	exists
)

// The names of mechanisms, and the reason of a result if one matches.
var (
	mechanismNames = [...]string{"all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"}
	matchReasons   = [...]string{"matched all", "matched include", "matched a", "matched mx", "matched ptr",
		"matched ip4", "matched ip6", "matched exists"}
)

// directive is a mechanism with its qualifier (section 4.6.2).
type directive struct {
	mechanism    mechanism
	result       Status       // if it matches
	spec         string       // a domain-spec; "" means the current domain
	prefix       netip.Prefix // ip4 and ip6
	bits4, bits6 int          // a and mx
}

// parseDirective reads a term that is not a modifier (section 4.6.1).
func parseDirective(field string) (directive, error) {
	d := directive{result: Pass}
	switch field[0] {
	case '+':
		field = field[1:]
	case '-':
		d.result, field = Fail, field[1:]
	case '~':
		d.result, field = SoftFail, field[1:]
	case '?':
		d.result, field = Neutral, field[1:]
	}
	end := strings.IndexAny(field, ":/")
	if end < 0 {
		end = len(field)
	}
	for m, name := range mechanismNames {
		if strings.EqualFold(field[:end], name) {
			d.mechanism = mechanism(m)
			return d, d.parseArgument(field[end:])
		}
	}
	return d, problem("a term is neither a mechanism nor a modifier")
}

// parseArgument reads what follows the name of a mechanism: "", or something that begins with : or /.
func (d *directive) parseArgument(argument string) error {
	hasColon := strings.HasPrefix(argument, ":")
	switch d.mechanism {
	case all:
		if argument != "" { // section 5.1
			return problem("all has an argument")
		}
		return nil
	case ip4, ip6:
		return d.parseNetwork(argument)
	case a, mx:
		var err error
		if argument, err = d.cutLengths(argument); err != nil {
			return err
		}
	}
	if argument == "" && d.mechanism != include && d.mechanism != exists {
		return nil
	}
	if !hasColon || argument == "" {
		return problem("a mechanism lacks its domain")
	}
	d.spec = argument[1:]
	return checkDomainSpec(d.spec)
}

// parseNetwork reads ":" network [ "/" length ] (section 5.6).
func (d *directive) parseNetwork(argument string) error {
	if !strings.HasPrefix(argument, ":") {
		return problem("no IP address in ip4/ip6")
	}
	text, length, hasLength := strings.Cut(argument[1:], "/")
	network, err := netip.ParseAddr(text)
	if err != nil || network.Is4() != (d.mechanism == ip4) || network.Zone() != "" {
		return problem("invalid IP address in ip4/ip6")
	}
	bits := network.BitLen()
	if hasLength {
		if bits = prefixLength(length, bits); bits < 0 {
			return problem("invalid prefix length")
		}
	}
	d.prefix = netip.PrefixFrom(network, bits)
	return nil
}

// cutLengths cuts off a dual-cidr-length (section 5.3): [ "/" length ] [ "//" length ]. It searches from
// the end, because a domain-spec may contain slashes as well.
func (d *directive) cutLengths(argument string) (rest string, err error) {
	d.bits4, d.bits6 = 32, 128
	rest, digits := cutDigits(argument)
	if digits != "" && strings.HasSuffix(rest, "//") {
		d.bits6 = prefixLength(digits, 128)
		argument = rest[:len(rest)-2]
		rest, digits = cutDigits(argument)
	}
	if digits != "" && strings.HasSuffix(rest, "/") {
		d.bits4 = prefixLength(digits, 32)
		argument = rest[:len(rest)-1]
	}
	if d.bits4 < 0 || d.bits6 < 0 {
		return "", problem("invalid prefix length")
	}
	return argument, nil
}

// cutDigits cuts before the digits at the end.
func cutDigits(s string) (rest, digits string) {
	start := len(s)
	for start > 0 && isDigit(s[start-1]) {
		start--
	}
	return s[:start], s[start:]
}

// prefixLength is -1 if s is not a number from 0 to max without leading zeros.
func prefixLength(s string, max int) int {
	if s == "" || len(s) > 3 || len(s) > 1 && s[0] == '0' {
		return -1
	}
	n := 0
	for i := range len(s) {
		if !isDigit(s[i]) {
			return -1
		}
		n = 10*n + int(s[i]-'0')
	}
	if n > max {
		return -1
	}
	return n
}

// checkDomainSpec accepts a macro-string that ends with a macro, or with a dot and a top label (section 7.1).
func checkDomainSpec(spec string) error {
	end, err := scanMacros(spec)
	if err != nil {
		return err
	}
	if end == len(spec) && end > 0 {
		return nil
	}
	literal := strings.TrimSuffix(spec[end:], ".")
	if dot := strings.LastIndexByte(literal, '.'); dot < 0 || !isTopLabel(literal[dot+1:]) {
		return problem("a domain does not end in a top-level domain")
	}
	return nil
}

// isTopLabel accepts letters, digits and hyphens, but not digits alone, and no hyphen at either end.
func isTopLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	numeric := true
	for i := range len(s) {
		switch c := s[i]; {
		case isAlpha(c) || c == '-':
			numeric = false
		case !isDigit(c):
			return false
		}
	}
	return !numeric
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
