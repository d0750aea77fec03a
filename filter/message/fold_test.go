package message

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// foldedBySMTP is what smtp(8) makes of a text: lines of at most 998 octets, what follows behind a blank.
func foldedBySMTP(text, eol string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		content := strings.TrimRight(strings.TrimSuffix(line, "\n"), "\r")
		end := line[len(content):]
		for room := 998; len(content) > room; room = 997 {
			b.WriteString(content[:room] + eol + " ")
			content = content[room:]
		}
		b.WriteString(content + end)
	}
	return b.String()
}

func TestLongLinesAreFoldedAsSMTPWould(t *testing.T) {
	for _, n := range []int{0, 1, 997, 998, 999, 1995, 1996, 5000} {
		text := "short\n" + strings.Repeat("x", n) + "\n\n" + strings.Repeat("y", n)
		for _, eol := range []string{"\n", "\r\n"} {
			text := strings.ReplaceAll(text, "\n", eol)
			if got, want := folded(t, text, eol, len(text)), foldedBySMTP(text, eol); got != want {
				t.Errorf("%d octets: %q, want %q", n, got, want)
			}
		}
	}
}

// folded writes the text in pieces.
func folded(t testing.TB, text, eol string, piece int) string {
	t.Helper()
	var b bytes.Buffer
	l := &lineFolder{w: &b, eol: []byte(eol)}
	for part := range slices.Chunk([]byte(text), max(piece, 1)) {
		if n, err := l.Write(part); err != nil || n != len(part) {
			t.Fatalf("%d, %v", n, err)
		}
	}
	return b.String()
}

func FuzzLineFolder(f *testing.F) {
	f.Add(strings.Repeat("x", 2000)+"\n", 7)
	f.Add(strings.Repeat("x", 998)+"\r\n"+strings.Repeat(" ", 999), 998)
	f.Fuzz(func(t *testing.T, text string, piece int) {
		// one within a line is of no line end, and pipe(8) ends lines with LF
		text = strings.ReplaceAll(text, "\r", "")
		text += strings.Repeat(text, min(20, 5000/(len(text)+1)))
		if got, want := folded(t, text, "\n", piece), foldedBySMTP(text, "\n"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	})
}
