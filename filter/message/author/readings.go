package author

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Each of these functions makes of a From: value what some readers make of it before they look for addresses.

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

// dropInvalid leaves out octets that are not UTF-8.
func dropInvalid(s string) string { return strings.ToValidUTF8(s, "") }

// dropJunk leaves out control characters and octets that are not UTF-8.
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

// gluedThroughout leaves out all that gluedAcross could, but for an angle bracket beside a blank.
func gluedThroughout(s string) string {
	return gluedAcross("\"\\[]) \t")(gluedAcross("<>\"\\[])")(s))
}
