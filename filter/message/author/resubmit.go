package author

import (
	"strings"

	"postmend/filter/domain"
)

// Postfix rewrites address fields of what a program on the same host submits: cleanup(8) and
// trivial-rewrite(8) complete addresses, drop routes and final dots, and quote anew. Once one address of a
// field changes, the whole field is written anew.

// Mailbox is one author. The zero value is none.
type Mailbox struct {
	Name    string // without quotes and blanks, with comments; "" if there is none
	Address string
}

// maxMailbox bounds the From: field of a Mailbox, in octets: Postfix cuts long fields off when it writes them
// anew (address_token_limit).
const maxMailbox = 1000

// Mailbox gives the one author of From: fields in a form that this does not change; authors that differ have
// different forms. Maps that the operator has made (canonical_maps, masquerade_domains) change the address
// and leave the name. ok is false if there is no such form: several fields or mailboxes, a group, a domain
// without a dot, a local part that Postfix takes for a route ("boss%example.org"), a control character, a
// bracket, which for Postfix begins a domain literal, or a foreign blank at an end.
func (f Fields) Mailbox() (mailbox Mailbox, ok bool) {
	if len(f) != 1 || len(f[0]) > maxMailbox || strings.ContainsFunc(f[0], isOddControl) {
		return Mailbox{}, false
	}
	name, spec, ok := nameAndSpec(strings.Trim(unfolded(f[0]), blanks))
	if !ok {
		return Mailbox{}, false
	}
	if route, rest, found := strings.Cut(spec, ":"); found && strings.HasPrefix(route, "@") {
		spec = rest
	}
	at := strings.LastIndexByte(spec, '@')
	if at < 0 {
		return Mailbox{}, false
	}
	local := strings.Trim(spec[:at], blanks)
	if len(local) > 2 && local[0] == '"' && strings.IndexByte(local[1:], '"') == len(local)-2 {
		local = local[1 : len(local)-1]
	}
	host, err := domain.Parse(strings.TrimSuffix(strings.Trim(spec[at+1:], blanks), "."))
	if err != nil || !strings.Contains(host, ".") || !isDotAtom(local) || strings.ContainsAny(local, "%!") {
		return Mailbox{}, false
	}
	return Mailbox{name, local + "@" + host}, true
}

// maxBeside is how many octets beside an address Postfix keeps in any case when it writes the field anew: of
// more than 250, it keeps none.
const maxBeside = 240

// KeepsName tells whether Postfix keeps the name of the one author: then only a program can give him another
// name and another address.
func (f Fields) KeepsName() bool {
	const specials = `()<>@,;:\".[]` // RFC 5322 section 3.2.3; Postfix puts blanks around them
	length := 0
	for _, value := range f {
		length += len(value)
		for i := 0; i < len(value); i++ {
			if strings.IndexByte(specials, value[i]) >= 0 {
				length += 2
			}
		}
	}
	return length <= maxBeside
}

func isOddControl(r rune) bool { return r < ' ' && !strings.ContainsRune(blanks, r) || r == 0x7f }

// nameAndSpec takes a mailbox apart. The name comes without quotes and blanks, which are written anew, and
// with its comments.
func nameAndSpec(value string) (name, spec string, ok bool) {
	// What stands beside an address in angle brackets; all but comments; comments.
	var words, bare, comments strings.Builder
	inAngle := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"':
			n := quotedLength(value[i:])
			if n == 0 || inAngle {
				return "", "", false
			}
			words.WriteString(unquote(value[i+1 : i+n-1]))
			bare.WriteString(value[i : i+n])
			i += n - 1
		case c == '(':
			n := plainComment(value[i:])
			if n == 0 {
				return "", "", false
			}
			words.WriteString(unquote(value[i : i+n]))
			comments.WriteString(unquote(value[i : i+n]))
			bare.WriteByte(' ') // what stands around it are two words
			i += n - 1
		case c == '<' && !inAngle:
			inside, rest, closed := strings.Cut(value[i+1:], ">")
			if !closed || strings.ContainsAny(inside, "<(),;\\") {
				return "", "", false
			}
			spec, inAngle = inside, true
			i = len(value) - len(rest) - 1
		case strings.IndexByte("<>),;:\\[]", c) >= 0, inAngle && strings.IndexByte(blanks, c) < 0:
			return "", "", false
		default:
			bare.WriteByte(c)
			if strings.IndexByte(blanks, c) < 0 {
				words.WriteByte(c)
			}
		}
	}
	if !inAngle {
		return comments.String(), strings.Trim(bare.String(), blanks), true
	}
	return words.String(), spec, true
}

// quotedLength is the length of the quoted string that s starts with; 0 if it does not end.
func quotedLength(s string) int {
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

// unquote takes backslashes and blanks away.
func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		if strings.IndexByte(blanks, s[i]) < 0 {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// maxKept is how many octets of a field Postfix reads in any case, 10240 tokens of one at least.
const maxKept = 8 << 10

// IsKept tells whether Postfix leaves the value of an address field as it is when a program submits it again.
func IsKept(value []byte) bool {
	text := string(value)
	if strings.Trim(text, blanks) == "" {
		return true
	}
	if _, ok := plainDomains(text); !ok || len(text) > maxKept {
		return false
	}
	isAfter := func(c byte) bool { return strings.IndexByte(blanks+",>(", c) >= 0 }
	for at := 0; at < len(text); at++ {
		switch text[at] {
		case '"':
			at += max(plainQuoted(text[at:]), 1) - 1
			continue
		case '(':
			at += max(plainComment(text[at:]), 1) - 1
			continue
		case '@':
		default:
			continue
		}
		start := strings.LastIndexAny(text[:at], blanks+"<,)") + 1
		if local := text[start:at]; !isDotAtom(local) || strings.ContainsAny(local, "%!") {
			return false
		}
		end := at + 1
		for end < len(text) && !isAfter(text[end]) {
			end++
		}
		if text[end-1] == '.' {
			return false
		}
	}
	return true
}
