package reinject

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxAddress is far above the 256 octets of RFC 5321 section 4.5.3.1.3, so that the server decides about long
// addresses, and well below what Postfix accepts in one line.
const maxAddress = 998

// mailbox writes an address as it stands between the angle brackets of MAIL and RCPT (RFC 5321 section
// 4.1.2), quoting a local part that needs it. An address without a domain stays without one: Postfix
// completes it.
//
// Characters that could end the path or the line are quoted or refused, so an address cannot inject commands.
// 8-bit octets stay as they are; the extensions of the server decide whether it gets them.
func mailbox(address string) (string, error) {
	switch {
	case address == "":
		return "", errors.New("the address is empty")
	case len(address) > maxAddress:
		return "", fmt.Errorf("the address has %d octets; at most %d are allowed", len(address), maxAddress)
	case strings.ContainsFunc(address, isControl):
		return "", errors.New("the address contains a control character")
	}
	local, domain, hasDomain := splitAddress(address)
	if local == "" {
		return "", errors.New("the address has no local part")
	}
	local = quoteLocal(local)
	if !hasDomain {
		return local, nil
	}
	if !isDomain(domain) {
		return "", errors.New("the domain of the address is malformed")
	}
	return local + "@" + domain, nil
}

// isControl includes the separators that some programs treat as line ends.
func isControl(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }

// splitAddress cuts at the last @, or after a quoted local part if what follows is a whole domain.
func splitAddress(address string) (local, domain string, hasDomain bool) {
	if end := quotedLength(address); end == len(address) {
		return address, "", false
	} else if end > 0 && address[end] == '@' && !strings.Contains(address[end+1:], "@") {
		return address[:end], address[end+1:], true
	}
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address, "", false
	}
	return address[:at], address[at+1:], true
}

// quotedLength is the length of the quoted string that s begins with, 0 if with none.
func quotedLength(s string) int {
	if s == "" || s[0] != '"' {
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// quoteLocal leaves a Dot-string or Quoted-string as it is and quotes anything else (RFC 5321 section
// 4.1.2; RFC 6531 section 3.3 adds UTF-8 to both).
func quoteLocal(local string) string {
	if isDotString(local) || quotedLength(local) == len(local) {
		return local
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
}

func isDotString(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" || strings.ContainsAny(atom, " \"(),:;<>@[\\]") {
			return false
		}
	}
	return true
}

// isDomain refuses what could be read as anything but a domain or an address literal. It does not check that
// the domain exists.
func isDomain(s string) bool {
	if inner, found := strings.CutPrefix(s, "["); found {
		inner, found = strings.CutSuffix(inner, "]")
		s = strings.ReplaceAll(inner, ":", "")
		if !found {
			return false
		}
	}
	return s != "" && !strings.ContainsAny(s, " \"(),:;<>@[\\]")
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// xtext encodes by RFC 3461 section 4.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// utf8xtext encodes by RFC 6533 section 3 as utf-8-addr-xtext, the ASCII form that any server with DSN
// accepts.
func utf8xtext(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < '!' || r > '~' || r == '+' || r == '=' || r == '\\' {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
