package message

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// A process that reads many messages at once keeps less of each in memory; what is read is the same.
func TestWithLittleMemoryAMessageIsReadTheSame(t *testing.T) {
	header := "From: a@b.example\nTo: c@d.example\n"
	many := header + strings.Repeat("X-Number: a field of some length\n", 10_000)
	body := strings.Repeat("a line of a body\n", 30_000)
	for name, text := range map[string]string{
		"short":       header + "\nbody\n",
		"long body":   header + "\n" + body,
		"long header": many + "\n" + body,
		"header that fills the memory": header + "X: " + strings.Repeat("x", 4096-len(header)-4) + "\n\n" +
			body,
		"no header":               "\n" + body,
		"no body":                 many,
		"too many fields":         strings.Repeat("X:\n", 200_000) + "\n" + body,
		"From: behind the header": header + "no field\nFrom: x@y.example\n" + body + "\n" + body,
	} {
		for _, text := range []string{text, strings.ReplaceAll(text, "\n", "\r\n")} {
			large, err := Read(strings.NewReader(text), Options{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			small, err := Read(strings.NewReader(text), Options{Memory: 4096, Small: true, Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			defer large.Close()
			defer small.Close()
			var out bytes.Buffer
			small.WriteTo(&out)
			if out.String() != text {
				t.Errorf("%s: other octets", name)
			}
			if len(small.Header) != len(large.Header) || small.Oversized != large.Oversized ||
				small.bodyAt != large.bodyAt || !slices.Equal(small.Authors(), large.Authors()) {
				t.Errorf("%s: %d fields, %v, body at %d, %q; want %d, %v, %d, %q", name, len(small.Header),
					small.Oversized, small.bodyAt, small.Authors(), len(large.Header), large.Oversized,
					large.bodyAt, large.Authors())
			}
			if name == "long body" && len(small.head) > 64<<10 {
				t.Errorf("%d octets in memory", len(small.head))
			}
		}
	}
}
