package author

import (
	"cmp"
	"slices"
	"strings"

	"postmend/filter/domain"
)

// authors is what the old From: fields say, read more leniently than RFC 5322: a field that is not valid
// still has to be replaced.
type authors struct {
	utf8 bool        // addresses that are not ASCII can be answered, for the message leaves by SMTPUTF8
	list []oldAuthor // each address once, the first maxReplyTo+1
	name string      // raw, of the first author without an address
}

type oldAuthor struct {
	name          string // raw display name, or comment
	local, domain string // the domain canonical
	spec          string // as it can stand in Reply-To:; "" if it cannot
}

// read takes in one field's value. Where it has no address as RFC 5322 has them, looser readings are tried,
// and count if they find exactly one.
func (a *authors) read(value string) {
	value = wrapShifted(value)
	one := authors{utf8: a.utf8}
	if one.readList(value); len(one.list) == 0 {
		found := one.readOnly(value)
		found.name = cmp.Or(found.name, one.name)
		if found.domain != "" {
			one.list = []oldAuthor{found}
		}
	}
	for _, author := range one.list {
		a.include(author)
	}
	a.name = cmp.Or(a.name, one.name)
}

// readOnly finds the only address in a value that has none where it should be; the zero value if there is not
// exactly one.
func (a *authors) readOnly(value string) oldAuthor {
	text := decodeWords(value) // some mailers encode name and address together
	if strings.ContainsAny(text, "\r\n") {
		return oldAuthor{}
	}
	decoded := authors{utf8: a.utf8}
	if text != value {
		decoded.readList(text)
	}
	if len(decoded.list) == 1 {
		return decoded.list[0]
	}
	lx := addressLexer{rest: strings.Map(func(r rune) rune {
		if r != '@' && strings.ContainsRune(specials, r) {
			return ' '
		}
		return r
	}, text)}
	var tokens []token
	for t, ok := lx.next(); ok; t, ok = lx.next() {
		tokens = append(tokens, t)
	}
	local, domain, _, _ := onlyAddress(tokens)
	return oldAuthor{local: local, domain: domain, spec: addrSpec(local, domain, a.utf8)}
}

// readList reads an address list. Names of groups are passed over; a comment serves as a name where there is
// no other (RFC 822 section 6.1).
func (a *authors) readList(value string) {
	lx := addressLexer{rest: value}
	var mailbox []token
	angle := -1 // where an open < stands in mailbox
	comment := ""
	for {
		t, ok := lx.next()
		comment = cmp.Or(comment, lx.takeComment())
		// RFC 5322 section 4.4: <@hop,@hop:a@b>
		isRoute := angle >= 0 && len(mailbox) > angle+1 && mailbox[angle+1].kind == '@'
		switch {
		case !ok:
			a.add(mailbox, comment)
			return
		case t.kind == ';', t.kind == ',' && !isRoute:
			a.add(mailbox, comment)
			mailbox, angle, comment = mailbox[:0], -1, ""
		case t.kind == ':':
			if mailbox = mailbox[:angle+1]; angle < 0 {
				comment = ""
			}
		default:
			if t.kind == '<' && angle < 0 {
				angle = len(mailbox)
			}
			mailbox = append(mailbox, t)
		}
	}
}

// add takes in one mailbox: [name] "<" address [">"], or the address alone.
func (a *authors) add(mailbox []token, comment string) {
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
	address = joinDots(address)
	local, domain, ok := parseAddress(address)
	if !ok {
		var start int
		if local, domain, start, ok = onlyAddress(address); ok && len(name) == 0 {
			name = withoutAngles(address[:start])
		}
	}
	text := join(name)
	if strings.TrimSpace(text) == "" {
		text = comment
	}
	if ok {
		a.include(oldAuthor{text, local, domain, addrSpec(local, domain, a.utf8)})
	} else if a.name == "" {
		a.name = cmp.Or(join(name), join(mailbox))
	}
}

// include adds an author whose address was not there before.
func (a *authors) include(one oldAuthor) {
	same := func(other oldAuthor) bool { return other.local == one.local && other.domain == one.domain }
	if len(a.list) <= maxReplyTo && !slices.ContainsFunc(a.list, same) {
		a.list = append(a.list, one)
	}
}

// replyTo is the authors' addresses, as far as they can be written.
func (a *authors) replyTo() []string {
	var specs []string
	for _, author := range a.list {
		if author.spec != "" && len(specs) < maxReplyTo {
			specs = append(specs, author.spec)
		}
	}
	return specs
}

// onlyAddress finds local@domain in what is no address: in brackets twice, behind a name without brackets. It
// is not ok if there are two different ones.
func onlyAddress(tokens []token) (local, domain string, start int, ok bool) {
	for i := 1; i+1 < len(tokens); i++ {
		if tokens[i].kind != '@' || tokens[i].spaced || tokens[i+1].spaced {
			continue
		}
		l, d, isAddress := parseAddress(tokens[i-1 : i+2])
		switch {
		case !isAddress || !strings.Contains(d, "."):
		case !ok:
			local, domain, start, ok = l, d, i-1, true
		case l != local || d != domain:
			return "", "", 0, false
		}
	}
	return local, domain, start, ok
}

// maxAddressTokens is more than an address has: as many labels as a domain can have, and their dots.
const maxAddressTokens = 300

// joinDots makes one word of several with dots between them, for there may be blanks around the dots (RFC
// 5322 section 4.4).
func joinDots(tokens []token) []token {
	isDotted := func(t token) bool { return t.kind == 'w' && t.text[0] == '.' }
	if len(tokens) > maxAddressTokens || !slices.ContainsFunc(tokens, isDotted) {
		return tokens
	}
	var joined []token
	afterDot := false
	for _, t := range tokens {
		if n := len(joined); n > 0 && t.isWord() && joined[n-1].isWord() && (afterDot || isDotted(t)) {
			joined[n-1].text += t.text
			if t.kind == 'q' {
				joined[n-1].kind = 'q'
			}
		} else {
			joined = append(joined, t)
		}
		afterDot = t.kind == 'w' && t.text == "."
	}
	return joined
}

func withoutAngles(tokens []token) []token {
	isAngle := func(t token) bool { return t.kind == '<' || t.kind == '>' }
	return slices.DeleteFunc(slices.Clone(tokens), isAngle)
}

// parseAddress reads local@domain, both of them single words. The domain comes back in canonical form.
func parseAddress(tokens []token) (local, host string, ok bool) {
	if len(tokens) != 3 || tokens[1].kind != '@' || len(tokens[0].text)+len(tokens[2].text) > maxAddrSpec {
		return "", "", false
	}
	first, last := tokens[0], tokens[2]
	if first.kind != 'q' && first.kind != 'w' || first.kind == 'w' && strings.Contains(first.text, "=?") {
		return "", "", false
	}
	switch last.kind {
	case 'w':
		name, err := domain.Parse(last.text)
		return first.text, name, err == nil
	case '[':
		return first.text, last.text, addrSpec("a", last.text, false) != ""
	}
	return "", "", false
}

// token is a word of an address list, a quoted string without its quotes, a domain literal with its brackets,
// or a special character (RFC 5322 section 3.2).
type token struct {
	kind   byte // w, q, [, or the special character
	text   string
	spaced bool // a blank or a comment stands before it
}

func (t token) isWord() bool { return t.kind == 'w' || t.kind == 'q' }

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

// addressLexer cuts a From: value into tokens. What is opened and never closed is a character like others,
// and is looked for only once, so that the time is linear.
type addressLexer struct {
	rest                  string
	comment               string // the first one since takeComment, without its outer parentheses
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

// wordLen measures an atom with dots. Encoded words are passed over whole: many mailers leave blanks and
// commas in them.
func (lx *addressLexer) wordLen() int {
	i := 0
	for i < len(lx.rest) && strings.IndexByte(specials, lx.rest[i]) < 0 {
		_, n := encodedWord(lx.rest[i:])
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

// takeComment gives the first comment that was passed over since it was last asked for, unquoted; "" if there
// was none.
func (lx *addressLexer) takeComment() string {
	text := lx.comment
	lx.comment = ""
	if strings.IndexByte(text, '\\') < 0 {
		return strings.TrimSpace(text)
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		b.WriteByte(text[i])
	}
	return strings.TrimSpace(b.String())
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
				lx.comment = cmp.Or(lx.comment, lx.rest[1:i])
				lx.rest = lx.rest[i+1:]
				return
			}
		}
	}
	lx.noComment = true
	lx.rest = lx.rest[1:]
}
