package dkim

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// relax gives the canonical body, written in pieces of the given size.
func relax(t testing.TB, body []byte, piece int) string {
	t.Helper()
	var out bytes.Buffer
	w := &relaxedBody{w: &out}
	for len(body) > 0 {
		n := min(piece, len(body))
		if written, err := w.Write(body[:n]); written != n || err != nil {
			t.Fatal(written, err)
		}
		body = body[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// The example of RFC 6376 section 3.4.5.
func TestTheExampleOfRFC6376(t *testing.T) {
	header, n := SplitHeader([]byte("A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n"))
	var relaxed []byte
	for _, field := range header {
		relaxed = field.AppendRelaxed(relaxed)
	}
	if want := "a:X\r\nb:Y Z\r\n"; string(relaxed) != want {
		t.Errorf("header: %q, want %q", relaxed, want)
	}
	if got, want := relax(t, []byte(" C \r\nD \t E\r\n\r\n\r\n"), 100), " C\r\nD E\r\n"; got != want {
		t.Errorf("body after %d octets: %q, want %q", n, got, want)
	}
}

// RFC 6376 section 3.4.4, rule by rule.
func TestTheRelaxedBody(t *testing.T) {
	for _, c := range []struct{ why, body, want string }{
		{"an empty body stays empty", "", ""},
		{"empty lines alone are an empty body", "\r\n\r\n\n", ""},
		{"blanks alone are an empty body", "  \t\r\n ", ""},
		{"a last line without end gets one", "a", "a\r\n"},
		{"blanks at the end of a line go", "a \t\r\nb\t", "a\r\nb\r\n"},
		{"blanks within a line become one", "a \t b\r\n", "a b\r\n"},
		{"blanks at the start of a line become one", "\t\ta\r\n", " a\r\n"},
		{"empty lines within the body stay", "\r\na\r\n\r\n \r\nb\r\n", "\r\na\r\n\r\n\r\nb\r\n"},
		{"empty lines at the end go", "a\r\n\r\n\t\r\n", "a\r\n"},
		{"LF ends a line as CRLF does", "a\n\nb\n", "a\r\n\r\nb\r\n"},
		{"several CRs before LF are one line end", "a\r\r\r\nb\r\r\n", "a\r\nb\r\n"},
		{"8-bit octets and NUL are content", "\xff\x00\xa0 \x85\r\n", "\xff\x00\xa0 \x85\r\n"},
		{"form feed and vertical tab are content", "a\f\v\r\n", "a\f\v\r\n"},
		{"a dot is nothing special", "..\r\n.\r\n", "..\r\n.\r\n"},
	} {
		if got := relax(t, []byte(c.body), 1000); got != c.want {
			t.Errorf("%s: %q gave %q, want %q", c.why, c.body, got, c.want)
		}
	}
}

func TestARunOfBlankLinesIsCountedNotKept(t *testing.T) {
	w := &relaxedBody{w: new(bytes.Buffer)}
	lines := bytes.Repeat([]byte(" \t\r\n"), 1000)
	for range 1000 {
		if _, err := w.Write(lines); err != nil {
			t.Fatal(err)
		}
	}
	if cap(w.out) > canonBuffer {
		t.Errorf("it keeps %d octets", cap(w.out))
	}
}

// relaxedByTheBook does what RFC 6376 section 3.4.4 says, step by step, on a body without a bare CR.
func relaxedByTheBook(body string) string {
	body = lineEnd.ReplaceAllString(body, "\r\n")
	body = regexp.MustCompile(`[ \t]+\r\n`).ReplaceAllString(body, "\r\n")
	body = regexp.MustCompile(`[ \t]+$`).ReplaceAllString(body, "")
	body = regexp.MustCompile(`[ \t]+`).ReplaceAllString(body, " ")
	for strings.HasSuffix(body, "\r\n") {
		body = strings.TrimSuffix(body, "\r\n")
	}
	if body != "" {
		body += "\r\n"
	}
	return body
}

// bodies are seeds. Some are longer than the pieces that are hashed at once.
var bodies = []string{"", "a \t b\r\r\n\n\nc\n \n", " \r\n", "a", "\t\n\n.", strings.Repeat("x y\n\n", 100),
	strings.Repeat(".\n", canonBuffer),
	strings.Repeat("\n", 2*canonBuffer) + "x",
	strings.Repeat(strings.Repeat("x", 61)+"\n"+strings.Repeat("y", 62)+"\r\n", 1000),
	strings.Repeat("z", 2*canonBuffer)}

var (
	bareCR  = regexp.MustCompile(`\r+([^\r\n]|$)`)
	lineEnd = regexp.MustCompile(`\r*\n`)
)

func FuzzRelaxedBody(f *testing.F) {
	for _, seed := range bodies {
		f.Add([]byte(seed), uint16(7))
	}
	f.Fuzz(func(t *testing.T, body []byte, piece uint16) {
		body = bareCR.ReplaceAll(body, []byte("$1"))
		whole := relax(t, body, len(body)+1)
		if parts := relax(t, body, int(piece)+1); parts != whole {
			t.Errorf("in pieces %q, at once %q", parts, whole)
		}
		if want := relaxedByTheBook(string(body)); whole != want {
			t.Errorf("%q gave %q, want %q", body, whole, want)
		}
		if again := relax(t, []byte(whole), 3); again != whole {
			t.Errorf("the canonical form %q is not its own: %q", whole, again)
		}
	})
}

func FuzzSimpleBody(f *testing.F) {
	for _, seed := range bodies {
		f.Add([]byte(seed), uint16(7))
	}
	f.Fuzz(func(t *testing.T, body []byte, piece uint16) {
		body = bareCR.ReplaceAll(body, []byte("$1"))
		var out bytes.Buffer
		w := &simpleBody{relaxedBody{w: &out}}
		for part := range slices.Chunk(body, int(piece)+1) {
			if _, err := w.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if want := simpleByTheBook(lineEnd.ReplaceAllString(string(body), "\r\n")); out.String() != want {
			t.Errorf("%.100q in pieces of %d gave %.100q, want %.100q", body, int(piece)+1,
				out.String(), want)
		}
		if w.hasBareCR {
			t.Errorf("a bare CR was seen in %.100q", body)
		}
	})
}

func BenchmarkCanonicalize50MB(b *testing.B) {
	body := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, 0123456789 times.  \r\n"),
		50<<20/66)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		w := &relaxedBody{w: discard{}}
		w.Write(body)
		w.Close()
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
