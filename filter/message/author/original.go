package author

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"postmend/dkim"
)

const (
	maxOriginals = 5        // X-Original-From: fields
	maxOriginal  = 16 << 10 // octets of the old field in each
	maxWord      = 900      // octets without a blank that stay as they are; a line has at most 998 (RFC 5322)
)

// originalFrom keeps what an old From: field said; nil if it said nothing. What is not printable ASCII
// becomes encoded words (RFC 2047), of UTF-8 or of octets in an unknown character set (RFC 1428).
func originalFrom(value []byte) dkim.Field {
	const name = "X-Original-From:"
	o := original{lead: len(name) + 1}
	for text := bounded(value); text != ""; {
		var word string
		word, text = cutWord(text)
		if len(word) > maxWord || !isPrintableASCII(word) {
			o.pending = append(o.pending, word)
			continue
		}
		o.encode(word)
		o.words = append(o.words, word)
	}
	if o.encode(""); len(o.words) == 0 {
		return nil
	}
	return foldWords(name, o.words)
}

func isPrintableASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// bounded is the unfolded text of a value, with the CRs that do not belong to line ends, and at most
// maxOriginal octets.
func bounded(value []byte) string {
	var b strings.Builder
	for line := range bytes.Lines(value) {
		b.Write(bytes.TrimRight(line, "\r\n"))
	}
	text := strings.Trim(strings.ReplaceAll(b.String(), "\t", " "), " ")
	if len(text) <= maxOriginal {
		return text
	}
	text = text[:maxOriginal-len(" ...")]
	if end := strings.LastIndexByte(text, ' '); end > 0 {
		text = text[:end]
	}
	return strings.TrimRight(text, " ") + " ..."
}

// cutWord cuts off the first word, with the blanks before it, and drops one blank behind it.
func cutWord(text string) (word, rest string) {
	start := len(text) - len(strings.TrimLeft(text, " "))
	end := strings.IndexByte(text[start:], ' ')
	if end < 0 {
		return text, ""
	}
	return text[:start+end], text[start+end+1:]
}

// original is the words of an X-Original-From: field.
type original struct {
	lead    int      // octets before the first word
	words   []string // that are ready
	pending []string // that have to be encoded
}

// encode makes encoded words of those that are pending; next is the word behind them. Blanks between encoded
// words do not count, so that those beside one of the old field have to be encoded, too.
func (o *original) encode(next string) {
	if len(o.pending) == 0 {
		return
	}
	text, charset := strings.Join(o.pending, " "), "utf-8"
	if n := len(o.words); n > 0 && strings.HasSuffix(o.words[n-1], "?=") {
		text = " " + text
	}
	if strings.HasPrefix(strings.TrimLeft(next, " "), "=?") {
		text += " "
	}
	if !utf8.ValidString(text) {
		charset = "unknown-8bit"
	}
	o.words, o.pending = append(o.words, encodedWords(charset, text, o.lead)...), nil
}
