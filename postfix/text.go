package postfix

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Printable replaces each character of s that is not printable ASCII by a question mark, so that text from a
// message, a DNS record or a peer cannot end a line or control a terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// PrintableUTF8 is Printable for places that can show other scripts, such as a page. It replaces octets
// that are not UTF-8, control characters (C0, DEL, C1), line separators, and characters that are invisible
// or change the direction of text.
func PrintableUTF8(s string) string {
	clean := 0
	for clean < len(s) && s[clean] >= ' ' && s[clean] <= '~' {
		clean++
	}
	if clean == len(s) {
		return s
	}
	var b strings.Builder
	b.WriteString(s[:clean])
	for _, r := range s[clean:] {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Counted writes a number with its noun: "1 forward", "2 forwards".
func Counted[N int | int64](n N, noun string) string { return fmt.Sprintf("%d %s", n, Plural(n, noun)) }

// Plural is the form that a regular noun has beside a number.
func Plural[N int | int64](n N, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// ShortList names the first ones, and how many there are beside them.
func ShortList(names []string, most int) string {
	if len(names) <= most+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// WriteJSON writes v for a program, in a form that is safe on a terminal, too: control characters are
// escaped, which makes no difference to a program.
func WriteJSON(w io.Writer, v any) error {
	var encoded, b bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return err
	}
	for _, r := range encoded.String() {
		if r == '\n' || strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) { // RFC 8259 section 7
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}
