package author

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"postmend/dkim"
	"postmend/filter/domain"
)

const (
	maxInput    = 64 << 10 // octets of all From: fields; a field has at most 100 KiB (header_size_limit)
	maxReplyTo  = 5        // addresses in the Reply-To: we add
	maxAddrSpec = 64 + 1 + 255
	maxLine     = 76 // RFC 2047 section 2, for lines that hold encoded words; below the 78 of RFC 5322
)

// ErrNotASCII says that a From: field with this address needs SMTPUTF8 (RFC 6532 section 3.2).
var ErrNotASCII = errors.New("it is not ASCII, so every later hop would have to support SMTPUTF8")

// NewAuthor is the author in a rewritten From:.
type NewAuthor struct {
	Address string // an envelope address that Spec accepts
	Name    Name
}

// Rewrite gives the header with a new author as its only one. The new From: field
//
//	From: "Alice via example.org" <alias@example.org>
//
// stands where the first one stood, on top if there was none. Directly after it stand Reply-To: with the
// addresses of the old authors, unless the message has one with an address, and X-Original-From: with
// what each old field said. All other fields are as they were.
//
// The display name has the form of Name. It says who wrote as far as the old field can be read and believed.
//
// With utf8, for a message that leaves by SMTPUTF8, Reply-To: may have addresses in UTF-8 (RFC 6532 section
// 3.2); else these are left out.
//
// The error is ErrNotASCII, or says that the address cannot stand in a header; it never depends on the
// message.
func Rewrite(h dkim.Header, to NewAuthor, utf8 bool) (out dkim.Header, err error) {
	spec, domain, err := Spec(to.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot write From: with the address %q: %w", to.Address, err)
	}
	old := authors{utf8: utf8}
	var originals dkim.Header
	first, rest, hasReplyTo := -1, maxInput, false
	for i, field := range h {
		switch {
		case field.Is("From"):
			if first < 0 {
				first = i
			}
			old.read(beginning(field.Value(), rest))
			rest -= min(rest, len(field.Value()))
			if len(originals) < maxOriginals {
				if original := originalFrom(field.Value()); original != nil {
					originals = append(originals, original)
				}
			}
		case field.Is("Reply-To"):
			hasReplyTo = hasReplyTo || hasAddress(field.Value())
		}
	}
	fields := dkim.Header{foldWords("From:", append(phrase(to.Name.of(&old, spec, domain)), "<"+spec+">"))}
	replyTo := old.replyTo()
	replies := !hasReplyTo && len(replyTo) > 0
	if replies {
		fields = append(fields, foldWords("Reply-To:", strings.Split(strings.Join(replyTo, ", "), " ")))
	}
	fields = append(fields, originals...)

	out = make(dkim.Header, 0, len(h)+len(fields))
	for i, field := range h {
		if i == max(first, 0) {
			out = append(out, fields...)
		}
		// RFC 5322 section 3.6 allows only one.
		if !field.Is("From") && !(replies && field.Is("Reply-To")) {
			out = append(out, field)
		}
	}
	if len(h) == 0 {
		out = fields
	}
	return out, nil
}

// hasAddress tells whether a Reply-To: has somebody to reply to.
func hasAddress(value []byte) bool {
	if len(value) > maxInput {
		return true
	}
	var list authors
	list.read(dkim.Unfold(value))
	return len(list.list) > 0
}

// beginning is the beginning of a value, unfolded. It ends with a whole address: half of one would be another
// one's address.
func beginning(value []byte, limit int) string {
	if len(value) <= limit {
		return dkim.Unfold(value)
	}
	return dkim.Unfold(value[:max(bytes.LastIndexByte(value[:limit], ','), 0)])
}

// Spec checks that an envelope address can stand in From: and be read in one way only, and gives its
// addr-spec and its canonical domain. The local part has to be a dot-atom (RFC 5322 section 3.2.3): readers
// take addresses out of quoted strings and encoded words, and relays those of others out of routes such as
// ceo%bank.example and bank.example!ceo.
func Spec(address string) (spec, name string, err error) {
	if !isASCII(address) {
		return "", "", ErrNotASCII
	}
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return "", "", errors.New("it has no domain")
	}
	local, host := address[:at], strings.TrimSuffix(address[at+1:], ".")
	spec = local + "@" + host
	name, err = domain.Parse(host)
	switch {
	case !isDotAtom(local):
		return "", "", errors.New("its local part needs quotes, and could be read as another address")
	case strings.ContainsAny(local, "%!") || strings.Contains(local, "=?"):
		return "", "", errors.New("its local part could be read as another address")
	case err != nil || len(spec) > maxAddrSpec:
		return "", "", errors.New("it is not a valid address")
	}
	return spec, name, nil
}

// isDotAtom is RFC 5322 section 3.2.3, for ASCII.
func isDotAtom(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
	}
	isOther := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(specials, r) }
	return strings.IndexFunc(s, isOther) < 0
}

// addrSpec puts an address together, the local part quoted where it has to be; "" if no header can hold it,
// or only one in UTF-8 and that is not allowed.
func addrSpec(local, host string, utf8 bool) string {
	if strings.HasPrefix(host, "[") {
		host = strings.TrimSpace(host)
	} else if _, err := domain.Parse(host); err != nil {
		return ""
	}
	plain := local + "@" + host
	if len(plain) > maxAddrSpec || indexControl(plain) >= 0 {
		return ""
	}
	if !isASCII(plain) && (!utf8 || !isVisible(plain)) {
		return ""
	}
	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"@` + host
	for _, spec := range []string{plain, quoted} {
		if parsed, err := mail.ParseAddress("<" + spec + ">"); err == nil && parsed.Address == plain {
			return spec
		}
	}
	return ""
}

// isVisible tells whether text is UTF-8 of which nothing is hidden.
func isVisible(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool {
		return r == unicode.ReplacementChar || !unicode.IsGraphic(r) || isIgnorable(r) ||
			r != ' ' && unicode.IsSpace(r)
	}) < 0
}

// foldWords writes a field, folded between words (RFC 5322 section 2.2.3) before a line gets too long. A word
// that is too long itself has a line of its own.
func foldWords(name string, words []string) dkim.Field {
	field := []byte(name)
	column := len(name)
	for i, word := range words {
		if i > 0 && column+1+len(word) > maxLine {
			field = append(field, "\r\n"...)
			column = 0
		}
		field = append(append(field, ' '), word...)
		column += 1 + len(word)
	}
	return append(field, "\r\n"...)
}

// phrase writes a clean name (RFC 5322 section 3.2.5) as a quoted string, or as encoded words if it is not
// ASCII.
func phrase(name string) []string {
	if isASCII(name) {
		// A fold inside the quotes would be valid, but some readers would not find the address.
		return []string{`"` + name + `"`}
	}
	return encodedWords("utf-8", name, len("From: "))
}

// encodedWords writes text as encoded words (RFC 2047 section 2) that fit on a line behind so many octets.
func encodedWords(charset, text string, lead int) []string {
	encoding, encode := "q", qEncode
	if b := base64.StdEncoding.EncodeToString; len(b([]byte(text))) < len(qEncode([]byte(text))) {
		encoding, encode = "b", b
	}
	prefix := "=?" + charset + "?" + encoding + "?"
	room := maxLine - lead - len(prefix) - len("?=")
	var words []string
	start := 0
	for i := 0; i < len(text); { // a character never stands in two words, RFC 2047 section 5
		_, n := utf8.DecodeRuneInString(text[i:])
		if len(encode([]byte(text[start:i+n]))) > room {
			words = append(words, prefix+encode([]byte(text[start:i]))+"?=")
			start = i
		}
		i += n
	}
	return append(words, prefix+encode([]byte(text[start:]))+"?=")
}

// qEncode leaves only those characters as they are that may be so in a phrase, RFC 2047 section 5 (3).
func qEncode(s []byte) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == ' ':
			b.WriteByte('_')
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			strings.IndexByte("!*+-/", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}
