package reinject

import (
	"bufio"
	"bytes"
)

// dataWriter turns a message into what follows DATA, save for the final dot (RFC 5321 sections 2.3.8 and
// 4.5.2).
//
// Every line end becomes CRLF. All CRs directly before an LF are part of the line end: Postfix's smtpd
// strips them all, so a message that kept them would arrive as another one than was signed. A CR elsewhere
// is left alone.
type dataWriter struct {
	out     *bufio.Writer
	midLine bool
	// crs counts the CRs seen last, which may yet turn out to be part of a line end.
	crs int64
}

var (
	lf   = []byte{'\n'}
	crlf = []byte{'\r', '\n'}
)

// Write implements io.Writer. An error is the connection's, and sticks to it.
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

// short is a line, in octets, that is better taken as a whole.
const short = 16

// cutLine is bytes.Cut at LF, which for short lines takes longer than looking.
func cutLine(p []byte) (line, after []byte, ended bool) {
	for i, c := range p[:min(len(p), short)] {
		if c == '\n' {
			return p[:i], p[i+1:], true
		}
	}
	return bytes.Cut(p, lf)
}

// releaseCRs writes the CRs that turned out to stand inside a line.
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

// finish ends a line that the message left open. CRs at its very end belong to the line end it is given.
// What is buffered stays so: the final dot goes out with it. An error is one of the connection, from here
// or from before.
func (w *dataWriter) finish() error {
	if w.midLine || w.crs > 0 {
		w.endLine()
	}
	_, err := w.out.Write(nil)
	return err
}
