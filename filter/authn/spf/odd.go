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

// odd takes a term that is not as RFC 7208 has it in every way that somebody could. Behind a qualifier that gives
// no pass, only an include matters.
func (x *reach) odd(field, domain string) bool {
	field = strings.ToLower(field)
	start := strings.IndexFunc(field, func(c rune) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '%' })
	if start < 0 {
		return false
	}
	qualifier, field := field[:start], field[start:]
	isDash := func(c rune) bool { return strings.ContainsRune("-~?", c) || c > '~' } // word processors write "–all"
	if !strings.HasPrefix(field, "include") && strings.ContainsFunc(qualifier, isDash) {
		return false
	}
	switch whole := (directive{bits4: 32, bits6: 128}); {
	case strings.IndexByte(field, '%') >= 0: // a macro that may be anything
		return true
	case strings.HasPrefix(field, "all"), strings.HasPrefix(field, "exists"), strings.HasPrefix(field, "ptr"):
		return true
	case strings.HasPrefix(field, "a") && x.hosts(domain, whole):
		return true
	case strings.HasPrefix(field, "mx") && x.exchanges(domain, whole):
		return true
	}
	for part := range strings.FieldsFuncSeq(field, func(c rune) bool { return !isTermLetter(c) }) {
		if x.reachesAny(part) {
			return true
		}
	}
	return false
}

// isTermLetter takes what addresses, names and the delimiters before them are made of.
func isTermLetter(c rune) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.ContainsRune(".-_:/=", c)
}

// reachesAny looks for addresses and names behind each delimiter.
func (x *reach) reachesAny(part string) bool {
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
		if dot := strings.LastIndexByte(word, '.'); dot > 0 && isTopLabel(word[dot+1:]) && x.anyRecord(word) {
			return true
		}
	}
	return false
}

// anyRecord takes a name for that of a host, a mail domain and an include.
func (x *reach) anyRecord(name string) bool {
	if x.followed++; x.followed > maxFollowed {
		return true
	}
	whole := directive{bits4: 32, bits6: 128}
	return x.domain(name) || x.hosts(name, whole) || x.exchanges(name, whole)
}

// parseOddNetwork reads an address, and the prefix length behind it if there is a valid one. It gives the zero
// value for numbers that some could take for an address: 192.0.2, 192.0.2.080, 0xc0.0.2.80.
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
			_, digits := cutDigits(length[:len(length)-len(strings.TrimLeft(length, "0123456789"))])
			if n := prefixLength(digits, bits); n >= 0 {
				bits = n
			}
		}
		return netip.PrefixFrom(address, bits), true
	}
	labels := 0
	for label := range strings.SplitSeq(word, ".") {
		hex, isHex := strings.CutPrefix(label, "0x")
		if digits := "0123456789"; !isHex && strings.Trim(label, digits) != "" || isHex && strings.Trim(hex, digits+"abcdef") != "" {
			return netip.Prefix{}, false
		}
		labels++
	}
	return netip.Prefix{}, labels > 1 && (rest == "" || !isTermLetter(rune(rest[0])) || rest[0] == '/')
}
