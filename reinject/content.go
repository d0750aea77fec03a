package reinject

import (
	"bufio"
	"bytes"
)

// dataWriter turns a message into what follows DATA, except the final dot (RFC 5321 sections 2.3.8 and
// 4.5.2).
//
// Every line end becomes CRLF. All CRs directly before an LF are part of the line end: Postfix's smtpd
// removes them all, so the message that arrives would not be the one that was signed. Other CRs stay.
type dataWriter struct {
	out     *bufio.Writer
	midLine bool
	// crs counts the CRs seen last, which may be part of a line end.
	crs int64
}

var (
	lf   = []byte{'\n'}
	crlf = []byte{'\r', '\n'}
)

// Write implements io.Writer. An error is one of the connection, and is returned again by later writes.
func (w *dataWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if rest[0] == '\n' {
			w.endLine()
			rest = rest[1:]
			continue
		}
		line, after, ended := cutLine(rest)
		body := line
		for len(body) > 0 && body[len(body)-1] == '\r' {
			body = body[:len(body)-1]
		}
		if ended && len(body) == len(line) && len(body) < short && !w.midLine && w.crs == 0 {
			if err := w.shortLine(body); err != nil {
				return 0, err
			}
			rest = after
			continue
		}
		if len(body) > 0 {
			w.releaseCRs()
			if !w.midLine && body[0] == '.' {
				w.out.WriteByte('.')
			}
			w.midLine = true
			if _, err := w.out.Write(body); err != nil {
				return 0, err
			}
		}
		w.crs += int64(len(line) - len(body))
		if ended {
			w.endLine()
		}
		rest = after
	}
	return len(p), nil
}

// shortLine writes a whole line that is not empty.
func (w *dataWriter) shortLine(body []byte) error {
	line := w.out.AvailableBuffer()
	if body[0] == '.' {
		line = append(line, '.')
	}
	line = append(append(line, body...), '\r', '\n')
	_, err := w.out.Write(line)
	return err
}

// short is the longest line, in octets, that is faster to write as a whole.
const short = 16

// cutLine is bytes.Cut at LF, faster for short lines.
func cutLine(p []byte) (line, after []byte, ended bool) {
	for i, c := range p[:min(len(p), short)] {
		if c == '\n' {
			return p[:i], p[i+1:], true
		}
	}
	return bytes.Cut(p, lf)
}

// releaseCRs writes CRs that are inside a line.
func (w *dataWriter) releaseCRs() {
	for ; w.crs > 0; w.crs-- {
		w.out.WriteByte('\r')
		w.midLine = true
	}
}

func (w *dataWriter) endLine() {
	w.out.WriteByte('\r')
	w.out.WriteByte('\n')
	w.midLine, w.crs = false, 0
}

// finish ends the last line if the message did not. CRs at its very end belong to that line end. The buffer
// is not flushed: the final dot goes out with it. An error is one of the connection, now or earlier.
func (w *dataWriter) finish() error {
	if w.midLine || w.crs > 0 {
		w.endLine()
	}
	_, err := w.out.Write(nil)
	return err
}
