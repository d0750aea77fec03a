package lmtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// content is a message up to its final dot, with the dots that were put before others removed (RFC 5321
// section 4.5.2). Nothing but CRLF ends a line: a dot between other line ends is no end, so that nobody can
// hide one message in another.
type content struct {
	session *session
	rest    []byte // what was read of the connection, and not yet by the caller
	atStart bool   // of a line
	afterCR bool   // the last octet was a CR, and more of its line follows
	err     error  // sticks
}

// Read implements io.Reader. If the connection ends before the message does, that is no io.EOF.
func (r *content) Read(p []byte) (int, error) {
	for len(r.rest) == 0 && r.err == nil {
		r.fill()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	if n == 0 && len(p) > 0 {
		return 0, r.err
	}
	return n, nil
}

func (r *content) fill() {
	r.session.wait()
	line, err := r.session.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull): // a part of a line
	case errors.Is(err, io.EOF):
		r.err = io.ErrUnexpectedEOF
		return
	case err != nil:
		r.err = err
		return
	}
	if r.atStart && line[0] == '.' {
		if string(line) == ".\r\n" {
			r.err = io.EOF
			return
		}
		line = line[1:]
	}
	r.atStart = bytes.HasSuffix(line, []byte("\r\n")) || r.afterCR && string(line) == "\n"
	r.afterCR = bytes.HasSuffix(line, []byte("\r"))
	r.rest = line
}
