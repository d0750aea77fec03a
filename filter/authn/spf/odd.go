package spf

import (
	"net/netip"
	"strings"
)

// beginsLikeTerm tells whether a word begins with the name of a mechanism: rspamd looks no further.
func beginsLikeTerm(word string) bool {
	word = strings.ToLower(word)
	for _, name := range mechanismNames {
		if strings.HasPrefix(word, name) {
			return true
		}
	}
	return word == "v" || word == "redirect"
}

// odd reads a term that does not follow RFC 7208 in every way that a receiver could. With a qualifier other
// than pass, only an include matters.
func (x *reach) odd(field, domain string) bool {
	field = strings.ToLower(field)
	start := strings.IndexFunc(field, func(c rune) bool { return isAlphanumeric(c) || c == '%' })
	if start < 0 {
		return false
	}
	qualifier, field := field[:start], field[start:]
	isDash := func(c rune) bool { return strings.ContainsRune("-~?", c) || c > '~' } // as in "–all"
	if !strings.HasPrefix(field, "include") && strings.ContainsFunc(qualifier, isDash) {
		return false
	}
	shortest := shortestPrefix(field)
	isHosts := strings.HasPrefix(field, "a") || strings.HasPrefix(field, "mx")
	switch {
	case strings.IndexByte(field, '%') >= 0: // a macro that may be anything
		return true
	case strings.HasPrefix(field, "all"), strings.HasPrefix(field, "exists"), strings.HasPrefix(field, "ptr"):
		return true
	case isHosts && (x.lacksLength(field) || shortest.bits4 == 0): // in rspamd, too long a length is 0
		return true
	case strings.HasPrefix(field, "a") && x.hosts(domain, shortest):
		return true
	case strings.HasPrefix(field, "mx") && x.exchanges(domain, shortest):
		return true
	}
	for part := range strings.FieldsFuncSeq(field, func(c rune) bool { return !isTermLetter(c) }) {
		if x.reachesAny(part, shortest) {
			return true
		}
	}
	return false
}

func isAlphanumeric(c rune) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// isTermLetter accepts the characters of addresses, names, and the delimiters before them.
func isTermLetter(c rune) bool { return isAlphanumeric(c) || strings.ContainsRune(".-_:/=", c) }

// shortestPrefix is an a or mx with the shortest prefix length in a term, for either family; 0 if one is too
// long.
func shortestPrefix(field string) directive {
	d := directive{bits4: 32, bits6: 128}
	for n, length := range strings.Split(field, "/")[1:] {
		if length == "" || !isDigit(length[0]) {
			continue
		}
		bits, _ := leadingNumber(length, 128)
		if n == 0 && bits > 32 { // the first one is for IPv4
			bits = 0
		}
		d.bits4, d.bits6 = min(d.bits4, bits), min(d.bits6, bits)
	}
	return d
}

// leadingNumber reads the digits at the start, as strtoul(3) does. It is false if there are none, or if the
// number is too large.
func leadingNumber(s string, most int) (n int, ok bool) {
	for i := 0; i < len(s) && isDigit(s[i]); i++ {
		if n, ok = 10*n+int(s[i]-'0'), true; n > most {
			return 0, false
		}
	}
	return n, ok
}

// reachesAny looks for addresses and names behind each delimiter.
func (x *reach) reachesAny(part string, d directive) bool {
	for rest := part; rest != ""; {
		if network, ok := parseOddNetwork(rest); ok && (!network.IsValid() || x.covers(network)) {
			return true
		}
		end := strings.IndexAny(rest, ":/=")
		word := rest
		if rest = ""; end >= 0 {
			word, rest = word[:end], word[end+1:]
		}
		word = strings.Trim(word, ".-")
		dot := strings.LastIndexByte(word, '.')
		if dot > 0 && isTopLabel(word[dot+1:]) && x.anyRecord(word, d) {
			return true
		}
	}
	return false
}

// anyRecord takes a name for a host, a mail domain and an include.
func (x *reach) anyRecord(name string, d directive) bool {
	if x.followed++; x.followed > maxFollowed {
		return true
	}
	return x.domain(name) || x.hosts(name, d) || x.exchanges(name, d)
}

// parseOddNetwork reads an address, and the prefix length after it if that is valid. It gives the zero value
// for numbers that some programs could take for an address: 192.0.2, 192.0.2.080, 0xc0.0.2.80.
func parseOddNetwork(text string) (network netip.Prefix, ok bool) {
	const longest = 48
	end := 0
	for end < len(text) && end < longest && strings.IndexByte("0123456789abcdefx.:", text[end]) >= 0 {
		end++
	}
	word, rest := strings.TrimRight(text[:end], "."), text[end:]
	if address, err := netip.ParseAddr(word); err == nil {
		bits := address.BitLen()
		if length, isSlash := strings.CutPrefix(rest, "/"); isSlash {
			if n, ok := leadingNumber(length, bits); ok {
				bits = n
			}
		}
		return netip.PrefixFrom(address, bits), true
	}
	labels := 0
	for label := range strings.SplitSeq(word, ".") {
		hex, isHex := strings.CutPrefix(label, "0x")
		digits := "0123456789"
		if isHex {
			label, digits = hex, digits+"abcdef"
		}
		if strings.Trim(label, digits) != "" {
			return netip.Prefix{}, false
		}
		labels++
	}
	isWhole := rest == "" || rest[0] == '/' || !isTermLetter(rune(rest[0]))
	return netip.Prefix{}, isWhole && labels > 1
}
