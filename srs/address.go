package srs

import (
	"net/netip"
	"strings"
	"unicode"
)

// maxAddress is the longest address that is looked at, in octets: 64 of local part, the @ and 255 of domain
// (RFC 5321 section 4.5.3.1).
const maxAddress = 64 + 1 + 255

// split splits an address and checks both parts. It removes the quotes of a quoted local part: they belong
// to the written address, not to the name, and are not allowed inside another local part.
func split(address string) (local, host string, err error) {
	if len(address) > maxAddress || strings.ContainsFunc(address, unicode.IsControl) {
		return "", "", fault(ErrMalformed, address)
	}
	// The last @ divides: a quoted local part may contain others (RFC 5321 section 4.1.2), a domain may not.
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return "", "", fault(ErrMalformed, address)
	}
	local, ok := unquote(address[:at])
	host = address[at+1:]
	if !ok || local == "" || !isHost(host) {
		return "", "", fault(ErrMalformed, address)
	}
	return local, host, nil
}

// cut is split without the checks, for addresses that may be malformed.
func cut(address string) (local, host string) {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return "", ""
	}
	local, host = address[:at], address[at+1:]
	if len(address) <= maxAddress {
		if name, ok := unquote(local); ok {
			return name, host
		}
	}
	return strings.TrimPrefix(local, `"`), host
}

// unquote gives the name that a local part stands for. It accepts unquoted characters that should be quoted,
// except quotes and backslashes, whose meaning is not defined there.
func unquote(local string) (name string, ok bool) {
	if !strings.ContainsAny(local, `"\`) {
		return local, true
	}
	if len(local) < 2 || local[0] != '"' || local[len(local)-1] != '"' {
		return "", false
	}
	var plain strings.Builder
	escaped := false
	for _, c := range []byte(local[1 : len(local)-1]) {
		switch {
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
			continue
		case c == '"':
			return "", false // ends before its end
		}
		plain.WriteByte(c)
	}
	return plain.String(), !escaped
}

// quote writes a local part by RFC 5321 section 4.1.2: a Dot-string as it is, anything else as a
// Quoted-string.
func quote(name string) string {
	if isDotString(name) {
		return name
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}

// isDotString allows all octets above 127, because RFC 6531 section 3.3 adds UTF-8 to the atoms.
func isDotString(name string) bool {
	for atom := range strings.SplitSeq(name, ".") {
		if atom == "" || !isMadeOf(atom, "!#$%&'*+-/=?^_`{|}~") {
			return false
		}
	}
	return true
}

// isHost accepts a domain or an address literal (RFC 5321 section 4.1.3), which a sender may have.
func isHost(host string) bool {
	if !strings.HasPrefix(host, "[") || !strings.HasSuffix(host, "]") {
		return isDomain(host)
	}
	literal, wantV6 := host[1:len(host)-1], false
	if tag := "IPv6:"; len(literal) > len(tag) && strings.EqualFold(literal[:len(tag)], tag) {
		literal, wantV6 = literal[len(tag):], true
	}
	ip, err := netip.ParseAddr(literal)
	return err == nil && ip.Is6() == wantV6 && ip.Zone() == ""
}

// isDomain also accepts U-labels (RFC 5890), and underscores, which host names must not have but do.
func isDomain(domain string) bool {
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") ||
			!isMadeOf(label, "-_") {
			return false
		}
	}
	return len(domain) <= 253 && !strings.ContainsFunc(domain, isControlOrSpace)
}

func isControlOrSpace(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }

// isMadeOf tells whether s consists of letters, digits, the given punctuation and octets above 127.
func isMadeOf(s, punctuation string) bool {
	for i := range len(s) {
		c := s[i]
		alphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if c < 0x80 && !alphanumeric && strings.IndexByte(punctuation, c) < 0 {
			return false
		}
	}
	return true
}
