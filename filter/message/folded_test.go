package message

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"postmend/dkim"
)

// asDelivered folds lines as Postfix's delivery agents do (smtp_line_length_limit).
func asDelivered(body string) string {
	var b strings.Builder
	for line := range strings.Lines(body) {
		for room := MaxLine; len(strings.TrimRight(line, "\r\n")) > room; room = MaxLine - 1 {
			b.WriteString(line[:room] + "\n ")
			line = line[room:]
		}
		b.WriteString(line)
	}
	return b.String()
}

// chunked hands out a text in pieces of any length.
type chunked struct {
	text   string
	random *rand.Rand
}

func (c *chunked) Read(p []byte) (int, error) {
	n := min(len(c.text), len(p), 1+c.random.IntN(100_000))
	copy(p, c.text[:n])
	c.text = c.text[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// TestABodyHashedWhileItIsReadIsThatOfTheBodyAsDelivered: however it comes, and folded or not.
func TestABodyHashedWhileItIsReadIsThatOfTheBodyAsDelivered(t *testing.T) {
	random := rand.New(rand.NewPCG(15, 15))
	long := strings.Repeat("long word ", 300) + "\n"
	for name, body := range map[string]string{
		"empty":      "",
		"short":      "Hello.\n",
		"blanks":     "a \t b  \n\n\n",
		"long lines": "a\n" + long + "b\n" + long,
		"just not long": strings.Repeat("x", MaxLine) + "\n" +
			strings.Repeat("y", MaxLine+1) + "\n",
		"large": strings.Repeat("All work and no play.\n", 150_000),
		"large, a long line within": strings.Repeat("All work.\n", 150_000) + long +
			strings.Repeat("No play.\n", 100_000),
		"one large line": strings.Repeat("x", 3<<20) + "\n",
		"with CRLF": strings.Repeat("All work and no play.\r\n", 100_000) +
			strings.Replace(long, "\n", "\r\n", 1),
	} {
		header := "From: a@b.example\nSubject: x\n\n"
		want := dkim.NewBodyHash(dkim.Relaxed)
		want.Write([]byte(asDelivered(body)))
		want.Close()
		wantSum, _ := want.Sum()
		for _, arrives := range []string{body, asDelivered(body)} {
			for _, hashed := range []bool{true, false} {
				options := Options{Dir: t.TempDir()}
				if hashed {
					options.HashBody = func(h dkim.Header) bool { return len(h) == 2 }
				}
				m, err := Read(&chunked{header + arrives, random}, options)
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				if hashed && m.file != nil { // what was hashed is not read again
					m.file.Close()
				}
				folded, err := m.FoldedBody()
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if sum, err := folded.Sum(); err != nil || !bytes.Equal(sum[:], wantSum[:]) {
					t.Errorf("%s, while read %t: another hash, %v", name, hashed, err)
				}
			}
		}
	}
}
