package dkim

import "io"

// AppendRelaxed appends the relaxed form of the field, with its CRLF (RFC 6376 section 3.4.2).
func (f Field) AppendRelaxed(b []byte) []byte {
	for _, c := range []byte(f.Name()) {
		b = append(b, lower(c))
	}
	b = append(b, ':')
	start, blank := len(b), false
	for _, c := range f.Value() {
		switch c {
		case ' ', '\t', '\r', '\n':
			blank = len(b) > start
		default:
			if blank {
				b = append(b, ' ')
				blank = false
			}
			b = append(b, c)
		}
	}
	return append(b, '\r', '\n')
}

// relaxedBody writes the relaxed form of a body to w (RFC 6376 section 3.4.4), in large pieces. Lines end
// with LF; CRs directly before it belong to the line end. Line ends are counted until content follows, and
// not kept, so that memory does not grow with the body. It drops a CR within a line, and sets hasBareCR.
type relaxedBody struct {
	w   io.Writer
	out []byte // not written yet

	lineEnds int  // seen since the last content
	blank    bool // white space was seen since the last content or line end
	cr       bool // a CR was seen that may belong to a line end

	hasContent  bool
	hasBareCR   bool // a CR was seen that belongs to no line end
	hasFormFeed bool // not set by simpleBody
}

// canonBuffer is the size of the pieces, in octets.
const canonBuffer = 32 << 10

// enough is room for a word and the white space before it, in octets.
const enough = 64

// Write implements io.Writer.
func (r *relaxedBody) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		c := p[0]
		if c == '\r' {
			r.cr = true
			p = p[1:]
			continue
		}
		if c == '\n' {
			n := 1
			for n < len(p) && p[n] == '\n' {
				n++
			}
			r.lineEnds += n
			r.blank, r.cr = false, false
			p = p[n:]
			continue
		}
		if r.cr {
			r.hasBareCR, r.cr = true, false
		}
		if c == ' ' || c == '\t' {
			r.blank = true
			p = p[1:]
			continue
		}
		if r.lineEnds > 1 || cap(r.out)-len(r.out) < enough {
			n := r.contentLength(p[:min(len(p), canonBuffer-1)])
			if err := r.content(p[:n]); err != nil {
				return total - len(p), err
			}
			p = p[n:]
			continue
		}
		// Most words: after a blank or a line end, with enough room.
		if r.lineEnds == 1 {
			r.out = append(r.out, '\r', '\n')
			r.lineEnds = 0
		}
		if r.blank {
			r.out = append(r.out, ' ')
			r.blank = false
		}
		n := r.contentLength(p[:min(len(p), cap(r.out)-len(r.out))])
		r.out = append(r.out, p[:n]...)
		p = p[n:]
	}
	return total, nil
}

// contentLength is the length of the word that p starts with.
func (r *relaxedBody) contentLength(p []byte) int {
	for i, c := range p {
		if c > ' ' {
			continue
		}
		switch c {
		case ' ', '\t', '\r', '\n':
			return i
		case '\f':
			r.hasFormFeed = true
		}
	}
	return len(p)
}

// content writes pending white space, which content follows now, and then p.
func (r *relaxedBody) content(p []byte) error {
	r.hasContent = true
	if r.out == nil {
		r.out = make([]byte, 0, canonBuffer)
	}
	for r.lineEnds > 0 {
		n := min(r.lineEnds, len(lineEnds)/2)
		if err := r.makeRoom(2 * n); err != nil {
			return err
		}
		r.out = append(r.out, lineEnds[:2*n]...)
		r.lineEnds -= n
	}
	if err := r.makeRoom(1 + len(p)); err != nil {
		return err
	}
	if r.blank {
		r.out = append(r.out, ' ')
		r.blank = false
	}
	r.out = append(r.out, p...)
	return nil
}

// lineEnds are some at a time, for bodies that are made of them.
const lineEnds = "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"

// makeRoom writes the buffer out if n more octets do not fit.
func (r *relaxedBody) makeRoom(n int) error {
	if len(r.out)+n > canonBuffer {
		return r.flush()
	}
	return nil
}

func (r *relaxedBody) flush() error {
	if len(r.out) == 0 {
		return nil
	}
	_, err := r.w.Write(r.out)
	r.out = r.out[:0]
	return err
}

// Close ends the body: empty lines at its end are dropped, and the last line gets a line end if it has none.
// Without content the canonical body is empty.
func (r *relaxedBody) Close() error {
	if r.hasContent {
		if err := r.makeRoom(2); err != nil {
			return err
		}
		r.out = append(r.out, '\r', '\n')
	}
	return r.flush()
}
