package filter

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// authors is what the old From: fields say, read more leniently than RFC 5322: a field that is not valid still has to be replaced.
type authors struct {
	name          string // raw display name of the first author, or all there is of one without an address
	local, domain string // the first author's address, the domain canonical; "" if there is none
	several       bool   // others follow
	replyTo       []string
}

// read takes in one field's value. Group names and comments are passed over.
func (a *authors) read(value string) {
	lx := addressLexer{rest: value}
	var mailbox []token
	angle := -1 // where an open < stands in mailbox
	for {
		t, ok := lx.next()
		isRoute := angle >= 0 && len(mailbox) > angle+1 && mailbox[angle+1].kind == '@' // RFC 5322 section 4.4: <@hop,@hop:a@b>
		switch {
		case !ok:
			a.add(mailbox)
			return
		case t.kind == ';', t.kind == ',' && !isRoute:
			a.add(mailbox)
			mailbox, angle = mailbox[:0], -1
		case t.kind == ':':
			mailbox = mailbox[:angle+1]
		default:
			if t.kind == '<' && angle < 0 {
				angle = len(mailbox)
			}
			mailbox = append(mailbox, t)
		}
	}
}

// add takes in one mailbox: [name] "<" address [">"], or the address alone.
func (a *authors) add(mailbox []token) {
	if len(mailbox) == 0 {
		return
	}
	name, address := []token(nil), mailbox
	for i, t := range mailbox {
		if t.kind == '<' {
			name, address = mailbox[:i], mailbox[i+1:]
			break
		}
	}
	if n := len(address); len(name) < len(mailbox) && n > 0 && address[n-1].kind == '>' {
		address = address[:n-1]
	}
	local, domain, ok := parseAddress(address)
	switch {
	case !ok:
		if a.domain == "" && a.name == "" {
			a.name = cmp.Or(join(name), join(mailbox))
		}
		return
	case a.domain == "":
		a.name, a.local, a.domain = join(name), local, domain
	case local != a.local || domain != a.domain:
		a.several = true
	}
	if spec := addrSpec(local, domain); spec != "" && len(a.replyTo) < maxReplyTo && !slices.Contains(a.replyTo, spec) {
		a.replyTo = append(a.replyTo, spec)
	}
}

// parseAddress reads local@domain, both of them single words. The domain comes back in canonical form.
func parseAddress(tokens []token) (local, domain string, ok bool) {
	if len(tokens) != 3 || tokens[1].kind != '@' || len(tokens[0].text)+len(tokens[2].text) > maxAddrSpec {
		return "", "", false
	}
	first, last := tokens[0], tokens[2]
	if first.kind != 'q' && first.kind != 'w' || first.kind == 'w' && strings.Contains(first.text, "=?") {
		return "", "", false
	}
	switch last.kind {
	case 'w':
		domain, err := parseDomain(last.text)
		return first.text, domain, err == nil
	case '[':
		return first.text, last.text, addrSpec("a", last.text) != ""
	}
	return "", "", false
}

// token is a word of an address list, a quoted string without its quotes, a domain literal with its brackets, or a special
// character (RFC 5322 section 3.2).
type token struct {
	kind   byte // w, q, [, or the special character
	text   string
	spaced bool // a blank or a comment stands before it
}

// join puts tokens together as they stood.
func join(tokens []token) string {
	var b strings.Builder
	for _, t := range tokens {
		if t.spaced {
			b.WriteByte(' ')
		}
		b.WriteString(t.text)
	}
	return b.String()
}

// addressLexer cuts a From: value into tokens. What is opened and never closed is a character like others, and is looked for
// only once, so that the time is linear.
type addressLexer struct {
	rest                  string
	noQuoteEnd, noComment bool
}

const specials = "()<>[]:;@\\,\" \t"

func (lx *addressLexer) next() (t token, ok bool) {
	for len(lx.rest) > 0 {
		c := lx.rest[0]
		switch {
		case c == ' ' || c == '\t':
			lx.rest = lx.rest[1:]
			t.spaced = true
		case c == '(':
			lx.skipComment()
			t.spaced = true
		case c == '"':
			if t.text, ok = lx.quoted(); ok {
				t.kind = 'q'
				return t, true
			}
		case c == '\\' || c == ')' || c == ']':
			lx.rest = lx.rest[1:]
			t.spaced = true
		case c == '[':
			t.kind, t.text = '[', lx.literal()
			return t, true
		case strings.IndexByte(specials, c) >= 0:
			t.kind, t.text = c, lx.take(1)
			return t, true
		default:
			t.kind, t.text = 'w', lx.take(lx.wordLen())
			return t, true
		}
	}
	return t, false
}

func (lx *addressLexer) take(n int) string {
	text := lx.rest[:n]
	lx.rest = lx.rest[n:]
	return text
}

// wordLen measures an atom with dots. Encoded words are passed over whole: many mailers leave blanks and commas in them.
func (lx *addressLexer) wordLen() int {
	i := 0
	for i < len(lx.rest) && strings.IndexByte(specials, lx.rest[i]) < 0 {
		_, _, n := encodedWord(lx.rest[i:])
		i += max(n, 1)
	}
	return i
}

func (lx *addressLexer) literal() string {
	for i, c := range lx.rest[:min(len(lx.rest), 64)] {
		if c == ']' {
			return lx.take(i + 1)
		}
	}
	return lx.take(1)
}

func (lx *addressLexer) quoted() (text string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(lx.rest) && !lx.noQuoteEnd; i++ {
		switch c := lx.rest[i]; {
		case c == '"':
			lx.rest = lx.rest[i+1:]
			return b.String(), true
		case c == '\\' && i+1 < len(lx.rest):
			i++
			b.WriteByte(lx.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	lx.noQuoteEnd = true
	lx.rest = lx.rest[1:]
	return "", false
}

func (lx *addressLexer) skipComment() {
	depth := 0
	for i := 0; i < len(lx.rest) && !lx.noComment; i++ {
		switch lx.rest[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				lx.rest = lx.rest[i+1:]
				return
			}
		}
	}
	lx.noComment = true
	lx.rest = lx.rest[1:]
}

// encodedWord reads the encoded word (RFC 2047 section 2) that s begins with; n is its length, 0 if there is none.
func encodedWord(s string) (charset string, octets []byte, n int) {
	if !strings.HasPrefix(s, "=?") {
		return "", nil, 0
	}
	charset, rest, _ := strings.Cut(s[2:], "?")
	if len(rest) < 2 || rest[1] != '?' {
		return "", nil, 0
	}
	text, end, _ := strings.Cut(rest[2:], "?")
	if !strings.HasPrefix(end, "=") {
		return "", nil, 0
	}
	charset, _, _ = strings.Cut(strings.ToLower(charset), "*") // RFC 2231 section 5: a language may follow
	switch rest[0] {
	case 'q', 'Q':
		octets = qDecode(text)
	case 'b', 'B':
		text = strings.TrimRight(strings.ReplaceAll(text, " ", ""), "=")
		octets, _ = base64.RawStdEncoding.DecodeString(text) // what comes before an error is good
	default:
		return "", nil, 0
	}
	return charset, octets, len(s) - len(end) + 1
}

func qDecode(s string) []byte {
	octets := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '_' {
			c = ' '
		} else if c == '=' && i+2 < len(s) {
			if b, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				c = b[0]
				i += 2
			}
		}
		octets = append(octets, c)
	}
	return octets
}

// decodeWords turns the encoded words in s into UTF-8, also those inside quoted strings, which RFC 2047 forbids and readers
// decode. The octets of neighbours in one character set go together: many mailers cut characters in two.
func decodeWords(s string) string {
	var out strings.Builder
	var octets []byte // decoded, not yet UTF-8
	var charset string
	plain, afterWord := 0, false
	convert := func() {
		out.WriteString(toUTF8(charset, octets))
		octets = nil
	}
	for i := 0; i < len(s); {
		c, o, n := encodedWord(s[i:])
		if n == 0 {
			i++
			continue
		}
		between := s[plain:i]
		if !afterWord || strings.TrimSpace(between) != "" { // blanks between encoded words do not count, RFC 2047 section 6.2
			convert()
			out.WriteString(toUTF8("", []byte(between)))
		} else if c != charset {
			convert()
		}
		charset, octets = c, append(octets, o...)
		i += n
		plain, afterWord = i, true
	}
	convert()
	return out.String() + toUTF8("", []byte(s[plain:]))
}

// toUTF8 converts text. What is not valid in its character set, or in UTF-8 where that set is not known, becomes U+FFFD.
func toUTF8(charset string, octets []byte) string {
	if set := charsetNamed(charset); set != nil {
		if decoded, err := set.NewDecoder().Bytes(octets); err == nil {
			octets = decoded
		}
	}
	return strings.ToValidUTF8(string(octets), "\uFFFD")
}

// charsetNamed knows the character sets of names in mail. The complete index of x/text would cost each start of the program
// 0.1 ms. ISO 8859-1 is read as the superset that mailers mean by it.
func charsetNamed(name string) encoding.Encoding {
	switch name {
	case "iso-8859-1", "latin1", "windows-1252", "cp1252":
		return charmap.Windows1252
	case "iso-8859-2":
		return charmap.ISO8859_2
	case "iso-8859-5":
		return charmap.ISO8859_5
	case "iso-8859-7":
		return charmap.ISO8859_7
	case "iso-8859-8", "iso-8859-8-i":
		return charmap.ISO8859_8
	case "iso-8859-9", "windows-1254":
		return charmap.Windows1254
	case "iso-8859-15":
		return charmap.ISO8859_15
	case "windows-1250":
		return charmap.Windows1250
	case "windows-1251":
		return charmap.Windows1251
	case "windows-1253":
		return charmap.Windows1253
	case "windows-1255":
		return charmap.Windows1255
	case "windows-1256":
		return charmap.Windows1256
	case "windows-1257":
		return charmap.Windows1257
	case "windows-1258":
		return charmap.Windows1258
	case "windows-874", "tis-620", "iso-8859-11":
		return charmap.Windows874
	case "koi8-r":
		return charmap.KOI8R
	case "koi8-u":
		return charmap.KOI8U
	case "gb2312", "gbk", "gb18030":
		return simplifiedchinese.GB18030
	case "big5":
		return traditionalchinese.Big5
	case "euc-kr", "ks_c_5601-1987":
		return korean.EUCKR
	case "iso-2022-jp":
		return japanese.ISO2022JP
	case "shift_jis", "windows-31j", "cp932":
		return japanese.ShiftJIS
	case "euc-jp":
		return japanese.EUCJP
	}
	return nil
}
