// Package author is about From: (RFC 5322 section 3.6.2): the domains that any receiver could read in it, and how another
// address takes the author's place.
package author

import (
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"postmend/dkim"
	"postmend/filter/domain"
)

// Domains gives the domains, canonical and each once, that a receiver could take for the author's.
//
// A value that is plain (see plainDomains) is read by all in the same way. Any other is read in every way
// that is plausible, and the domains of all these ways count, those of the strict one (RFC 5322) included:
// comments, quotes, angle brackets, invisible and foreign characters are skipped by some readers, end an
// address for others, and belong to it for a third kind.
func (f Fields) Domains() []string {
	var domains []string
	seen := map[string]bool{}
	add := func(name string) {
		if !seen[name] && (domain.Name(name) != "" || strings.HasPrefix(name, "[")) {
			seen[name] = true
			domains = append(domains, name)
		}
	}
	for _, value := range f {
		if plain, ok := plainDomains(value); ok {
			for _, domain := range plain {
				add(domain)
			}
			continue
		}
		strictDomains(value, add)
		wideDomains(value, add)
	}
	return domains
}

// strictDomains reads a value by RFC 5322, obsolete forms as far as net/mail knows them.
func strictDomains(value string, add func(domain string)) {
	list, _ := mail.ParseAddressList(dkim.Unfold([]byte(value)))
	for _, address := range list {
		add(domain.Of(address.Address))
	}
}

// maxOddFrom bounds what is read in every way, in octets of all From: fields.
const maxOddFrom = 8 << 10

// wideDomains reads a value in the ways that strictDomains does not. Readers decode encoded words before they
// parse, or do not; they skip comments, or do not know them; of octets that are no visible ASCII they keep,
// skip or stop at some; and what stands within a domain without being a part of it they skip or stop at.
func wideDomains(value string, add func(domain string)) {
	steps := [...][]func(string) string{
		{unfolded, closedAtFolds},
		{asItIs, decodeLeniently, decodeApart},
		{commentsApart, withoutComments, withoutUnescapedComments, withoutFlatComments, withoutTrimmedComments,
			withoutInnerComments},
		{asItIs, dropNULs, dropJunk},
		{asItIs, separateSpaces, separateForeign, dropInvisible, dropForeign},
	}
	texts := []string{value}
	for _, ways := range steps {
		var read []string
		seen := map[string]bool{}
		for _, text := range texts {
			for _, way := range ways {
				if made := way(text); !seen[made] {
					seen[made] = true
					read = append(read, made)
				}
			}
		}
		texts = read
	}
	gluedBlanks := gluedAcross("\"\\[]) \t")
	glues := [...]func(string) string{gluedAtDots, gluedAcross("\"\\[])"), gluedAcross("<>\"\\[])"), gluedBlanks, gluedThroughout}
	for _, text := range texts {
		domainsBehindAt(text, add)
		for _, glue := range glues {
			if glued := glue(text); glued != text {
				domainsBehindAt(glued, add)
			}
		}
	}
	for _, way := range [...]func(string) string{asItIs, dropJunk, dropForeign} {
		text := way(unfolded(value))
		joinedDomains(text, add)
		joinedDomains(gluedBlanks(text), add)
	}
}

// joinedDomains adds a word behind an @ joined with each word that follows a closing quote, bracket or
// parenthesis later in the same mailbox: whatever stands between is passed over by the one reader or the
// other.
func joinedDomains(value string, add func(domain string)) {
	const enough = 64 // of each
	for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == ';' }) {
		starts := "@"
		for range enough {
			at := strings.IndexAny(part, starts)
			if at < 0 {
				break
			}
			starts = "@)" // a comment may stand behind the @
			part = strings.TrimLeft(part[at+1:], blanks)
			first := part[:domainLen(part)]
			later := strings.TrimLeft(part[len(first):], blanks)
			if first == "" || later == "" || strings.IndexByte(`()<>"`, later[0]) < 0 {
				continue
			}
			closers := `)>"`
			if later[0] == '>' {
				closers = `)>"<` // another one behind a closed one
			}
			for range enough {
				at := strings.IndexAny(later, closers)
				if at < 0 {
					break
				}
				later = strings.TrimLeft(later[at+1:], blanks)
				if second := later[:domainLen(later)]; second != "" && strings.IndexByte(first+second, '.') > 0 {
					add(domain.Canonical(first + second))
				}
			}
		}
	}
}

// domainLen is how many octets of s from its start could be of a domain.
func domainLen(s string) int {
	n := 0
	for n < len(s) && n < maxDomainWord && isDomainOctet(s[n]) {
		n++
	}
	return n
}

func asItIs(s string) string { return s }

// unfolded takes line ends out. A CR that is no part of one stays.
func unfolded(value string) string {
	return strings.ReplaceAll(strings.ReplaceAll(value, "\r\n", ""), "\n", "")
}

// decodeLeniently decodes encoded words, and of base64 what is left without other characters (RFC 2045
// section 6.8).
func decodeLeniently(s string) string { return decodeWith("", s) }

// decodeApart takes each encoded word for a word by itself.
func decodeApart(s string) string { return decodeWith(",", s) }

func decodeWith(separator, s string) string {
	var b strings.Builder
	for {
		start := strings.Index(s, "=?")
		if start < 0 {
			return decodeWords(b.String() + s)
		}
		b.WriteString(s[:start])
		s = s[start:]
		_, n := encodedWord(s)
		if n == 0 {
			n = len("=?")
		}
		word := s[:n]
		if parts := strings.SplitN(word, "?", 4); len(parts) == 4 && strings.EqualFold(parts[2], "b") {
			word = "=?" + parts[1] + "?b?" + strings.Map(onlyBase64, parts[3]) + "?="
		}
		b.WriteString(word)
		if n > len("=?") {
			b.WriteString(separator)
		}
		s = s[n:]
	}
}

func onlyBase64(r rune) rune {
	if 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '+' || r == '/' {
		return r
	}
	return -1
}

// closedAtFolds takes a fold for the end of comments, as older versions of Python do.
func closedAtFolds(value string) string {
	return strings.ReplaceAll(strings.ReplaceAll(value, "\r\n", "\n"), "\n", ")")
}

// commentsApart reads what is in comments as if it stood beside them.
func commentsApart(s string) string { return strings.NewReplacer("(", ",", ")", ",").Replace(s) }

// withoutComments leaves nothing where comments stand (RFC 5322 section 3.2.2), nested ones included.
func withoutComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	var b strings.Builder
	lx := addressLexer{rest: s}
	for lx.rest != "" {
		before := lx.rest
		switch lx.rest[0] {
		case '(':
			if lx.skipComment(); lx.noComment {
				return b.String() + before
			}
		case '"':
			if _, ok := lx.quoted(); !ok {
				return b.String() + before
			}
			b.WriteString(before[:len(before)-len(lx.rest)])
		default:
			n := strings.IndexAny(lx.rest, "(\"")
			if n < 0 {
				n = len(lx.rest)
			}
			b.WriteString(lx.take(n))
		}
	}
	return b.String()
}

// withoutUnescapedComments does not know the backslash.
func withoutUnescapedComments(s string) string {
	return withoutComments(strings.ReplaceAll(s, "\\", ""))
}

// withoutFlatComments takes comments to end at the first closing parenthesis.
func withoutFlatComments(s string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "(")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if _, s, ok = strings.Cut(rest, ")"); !ok {
			return b.String() + "(" + rest
		}
	}
}

// withoutTrimmedComments takes the blanks around such comments away, too.
func withoutTrimmedComments(s string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "(")
		if !ok {
			return b.String() + s
		}
		b.WriteString(strings.TrimRight(before, " \t"))
		if _, s, ok = strings.Cut(rest, ")"); !ok {
			return b.String() + "(" + rest
		}
		s = strings.TrimLeft(s, " \t")
	}
}

// withoutInnerComments takes for comments those that have none inside, and what is around them for text.
func withoutInnerComments(s string) string {
	var b strings.Builder
	for {
		end := strings.IndexByte(s, ')')
		if end < 0 {
			return b.String() + s
		}
		if start := strings.LastIndexByte(s[:end], '('); start >= 0 {
			b.WriteString(s[:start])
		} else {
			b.WriteString(s[:end+1])
		}
		s = s[end+1:]
	}
}

func dropNULs(s string) string { return strings.ReplaceAll(s, "\x00", "") }

// dropJunk leaves out control characters and what is no UTF-8.
func dropJunk(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
}

// separateForeign makes a separator of each character that is no visible ASCII.
func separateForeign(s string) string {
	return strings.Map(func(r rune) rune {
		if isForeign(r) {
			return ','
		}
		return r
	}, s)
}

// separateSpaces makes a separator of control characters and of blanks that are not ASCII.
func separateSpaces(s string) string {
	return strings.Map(func(r rune) rune {
		if isForeign(r) && (unicode.IsSpace(r) || unicode.IsControl(r) || r == '\ufeff') {
			return ','
		}
		return r
	}, s)
}

// dropForeign leaves out each character that is no visible ASCII.
func dropForeign(s string) string {
	return strings.Map(func(r rune) rune {
		if isForeign(r) {
			return -1
		}
		return r
	}, s)
}

func isForeign(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f }

// dropInvisible leaves out what is no character, cannot be seen or is a blank that is not ASCII. Other forms
// of @ and dot become these.
func dropInvisible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case !isForeign(r):
			return r
		case r == '＠' || r == '﹫':
			return '@'
		case strings.ContainsRune("。．｡․", r):
			return '.'
		case r == utf8.RuneError || !unicode.IsGraphic(r) || unicode.IsSpace(r):
			return -1
		}
		return r
	}, s)
}

// gluedAtDots leaves out blanks beside dots and the @ (RFC 5322 section 4.4).
func gluedAtDots(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		end := i
		for end < len(s) && (s[end] == ' ' || s[end] == '\t') {
			end++
		}
		isGlue := func(c byte) bool { return c == '.' || c == '@' }
		if i == 0 || end == len(s) || !isGlue(s[i-1]) && !isGlue(s[end]) {
			b.WriteString(s[i:end])
		}
		for i = end; i < len(s) && s[i] != ' ' && s[i] != '\t'; i++ {
		}
		b.WriteString(s[end:i])
	}
	return b.String()
}

// gluedAcross leaves out characters of a cutset that stand between two parts of a domain, an @ taken for one.
func gluedAcross(cutset string) func(string) string {
	return func(s string) string {
		var b strings.Builder
		for i := 0; i < len(s); {
			end := i
			for end < len(s) && strings.IndexByte(cutset, s[end]) >= 0 {
				end++
			}
			isPart := func(c byte) bool { return c == '@' || isDomainOctet(c) }
			if i == 0 || end == len(s) || !isPart(s[i-1]) || !isPart(s[end]) {
				b.WriteString(s[i:end])
			}
			for i = end; i < len(s) && strings.IndexByte(cutset, s[i]) < 0; i++ {
			}
			b.WriteString(s[end:i])
		}
		return b.String()
	}
}

// domainsBehindAt finds all words with a dot that stand behind an @: comments, quotes and brackets between
// them are skipped by some readers and not by others. The last word before another @ is the local part of
// that one's address.
func domainsBehindAt(value string, add func(domain string)) {
	_, rest, found := strings.Cut(value, "@")
	for found {
		var segment string
		segment, rest, found = strings.Cut(rest, "@")
		last := "" // word with a dot
		for start := 0; start < len(segment); start++ {
			end := start
			for end < len(segment) && isDomainOctet(segment[end]) {
				end++
			}
			word := strings.Trim(segment[start:end], ".-")
			if strings.ContainsAny(word, ".。．｡") && len(word) <= maxDomainWord {
				addWord(last, add)
				last = word
			}
			start = end
		}
		isLocalPart := found && strings.HasSuffix(segment, last) && strings.TrimLeft(segment, "<( \t") != last
		if !isLocalPart {
			addWord(last, add)
		}
	}
}

// addWord adds a word as it is, and with one dot where it has several after each other.
func addWord(word string, add func(domain string)) {
	add(domain.Canonical(word))
	if strings.Contains(word, "..") {
		add(domain.Canonical(strings.Join(strings.FieldsFunc(word, func(r rune) bool { return r == '.' }), ".")))
	}
}

// maxDomainWord is more octets than any writing of a domain name of 253 characters takes.
const maxDomainWord = 4 * 253

// gluedThroughout leaves out all that gluedAcross could, but for an angle bracket beside a blank.
func gluedThroughout(s string) string {
	return gluedAcross("\"\\[]) \t")(gluedAcross("<>\"\\[])")(s))
}

// isDomainOctet tells whether a domain may have an octet. Of those that are not ASCII, IDNA decides.
func isDomainOctet(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c >= 0x80 ||
		c == '-' || c == '_' || c == '.'
}
