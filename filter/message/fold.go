package message

import (
	"bytes"
	"io"

	"postmend/dkim"
)

// MaxLine is what Postfix's smtp client lets pass, in octets without the line end; it breaks longer lines
// (smtp_line_length_limit).
const MaxLine = 998

// lineFolder breaks long lines exactly as smtp(8) would on the way, by a line end and a blank, so that what
// is signed is what arrives.
type lineFolder struct {
	w      io.Writer
	eol    []byte
	column int // octets of the line so far
}

// Write implements io.Writer.
func (l *lineFolder) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, _, ended := bytes.Cut(rest, []byte{'\n'})
		content := bytes.TrimRight(line, "\r") // CRs may belong to the line end
		if room := MaxLine - l.column; len(content) > room {
			if err := l.write(rest[:room], l.eol, []byte{' '}); err != nil {
				return 0, err
			}
			rest, l.column = rest[room:], 1
			continue
		}
		n := len(line)
		l.column += len(content)
		if ended {
			n++
			l.column = 0
		}
		if err := l.write(rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

func (l *lineFolder) write(pieces ...[]byte) error {
	for _, piece := range pieces {
		if _, err := l.w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// foldFields breaks the long lines of a header; nil if it has none.
func foldFields(header dkim.Header, eol []byte) dkim.Header {
	var folded dkim.Header
	for i, field := range header {
		if len(field) <= MaxLine {
			continue
		}
		var b bytes.Buffer
		(&lineFolder{w: &b, eol: eol}).Write(field)
		if b.Len() > len(field) {
			if folded == nil {
				folded = append(dkim.Header{}, header...)
			}
			folded[i] = b.Bytes()
		}
	}
	return folded
}
