package reinject

import (
	"bufio"
	"bytes"
	"io"
	"net/textproto"
	"regexp"
	"testing"
)

var lineEnd = regexp.MustCompile(`\r*\n`)

// asPostfixReads is the message with LF line ends, by the rules of smtpd's own reader: CRs before an LF go
// with it.
func asPostfixReads(message []byte) []byte {
	if len(message) > 0 && message[len(message)-1] != '\n' {
		message = append(bytes.Clone(message), '\n')
	}
	return lineEnd.ReplaceAll(message, lf)
}

// onTheWire writes a message in pieces of the given size and adds the final dot.
func onTheWire(t testing.TB, message []byte, piece int) []byte {
	t.Helper()
	var wire bytes.Buffer
	w := &dataWriter{out: bufio.NewWriter(&wire)}
	for rest := message; len(rest) > 0; {
		n := min(piece, len(rest))
		if written, err := w.Write(rest[:n]); written != n || err != nil {
			t.Fatalf("wrote %d of %d, %v", written, n, err)
		}
		rest = rest[n:]
	}
	if err := w.finish(); err != nil {
		t.Fatal(err)
	}
	w.out.Flush()
	return append(wire.Bytes(), ".\r\n"...)
}

func TestContentOnTheWire(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", ""},
		{"\n", "\r\n"},
		{"a\nb\r\nc\r\r\r\nd", "a\r\nb\r\nc\r\nd\r\n"},
		{".\n..\na.\n.", "..\r\n...\r\na.\r\n..\r\n"},
		{"a\n.\r\n", "a\r\n..\r\n"},
		{"a\rb\r\r.c\n", "a\rb\r\r.c\r\n"},
		{"\r.\n", "\r.\r\n"},
		{"a\r", "a\r\n"},
		{"\r", "\r\n"},
		{"a\n\r\rb", "a\r\n\r\rb\r\n"},
		{"\x00.\n\xff\n", "\x00.\r\n\xff\r\n"},
	} {
		for piece := 1; piece <= len(tc.in)+1; piece++ {
			if got := string(onTheWire(t, []byte(tc.in), piece)); got != tc.want+".\r\n" {
				t.Errorf("%q in pieces of %d becomes %q, want %q", tc.in, piece, got, tc.want+".\r\n")
			}
		}
	}
}

// FuzzContent takes the standard library's reader of dot-encoded text as a stranger.
func FuzzContent(f *testing.F) {
	for _, s := range []string{"", ".", "..\n", "a\r\n.\r\nb", "\r\r\n", "\r.\r\n", "a\n\r", "\x00\n.\x00",
		"a\n.\n.\n"} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, message []byte, piece int) {
		wire := onTheWire(t, message, max(1, piece))
		if bytes.Contains(bytes.ReplaceAll(wire, crlf, nil), lf) {
			t.Fatalf("%q has a bare LF on the wire: %q", message, wire)
		}
		// A reader that ends at the first CRLF.CRLF must have consumed it all.
		end := bytes.Index(append([]byte("\r\n"), wire...), []byte("\r\n.\r\n"))
		if end+len(".\r\n") != len(wire) {
			t.Fatalf("%q ends early on the wire: %q", message, wire)
		}
		got, err := io.ReadAll(textproto.NewReader(bufio.NewReader(bytes.NewReader(wire))).DotReader())
		if want := asPostfixReads(message); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%q is read as %q, %v, want %q", message, got, err, want)
		}
	})
}

func BenchmarkContent(b *testing.B) {
	for name, line := range map[string]string{"lines of 72": string(bytes.Repeat([]byte("x"), 71)) + "\n",
		"empty lines": "\n", "dots": ".\n", "bare CRs": "\r\r\r\r\r\r\r\r"} {
		b.Run(name, func(b *testing.B) {
			message := bytes.Repeat([]byte(line), 1<<20/len(line))
			out := bufio.NewWriterSize(io.Discard, outBuffer)
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			for b.Loop() {
				w := dataWriter{out: out}
				w.Write(message)
				w.finish()
			}
		})
	}
}
