package dkim

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"slices"
)

// simpleBody writes the simple form of a body (RFC 6376 section 3.4.3). Line ends are as in relaxedBody.
type simpleBody struct{ relaxedBody }

// Write implements io.Writer.
func (s *simpleBody) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if n := s.shortLine(p); n > 0 {
			p = p[n:]
			continue
		}
		line, rest, ended := bytes.Cut(p, []byte("\n"))
		text := line
		for len(text) > 0 && text[len(text)-1] == '\r' {
			text = text[:len(text)-1]
		}
		if len(text) > 0 {
			s.hasBareCR = s.hasBareCR || s.cr || bytes.IndexByte(text, '\r') >= 0
		}
		for len(text) > 0 {
			n := min(len(text), canonBuffer-1)
			if err := s.content(text[:n]); err != nil {
				return total - len(p), err
			}
			text = text[n:]
		}
		if ended {
			s.lineEnds++
		}
		s.cr = !ended && line[len(line)-1] == '\r'
		p = rest
	}
	return total, nil
}

// shortLine takes line ends, or a line of few octets without CR, and gives their length; 0 if p starts with
// neither.
func (s *simpleBody) shortLine(p []byte) int {
	n := 0
	for n < len(p) && p[n] == '\n' {
		n++
	}
	if n > 0 {
		s.lineEnds += n
		s.cr = false
		return n
	}
	if s.cr || s.lineEnds > 1 || cap(s.out)-len(s.out) < enough {
		return 0
	}
	for n < min(len(p), enough-2) && p[n] != '\n' && p[n] != '\r' {
		n++
	}
	if n == len(p) || p[n] != '\n' {
		return 0
	}
	if s.lineEnds == 1 {
		s.out = append(s.out, '\r', '\n')
	}
	s.out = append(s.out, p[:n]...)
	s.lineEnds = 1
	return n + 1
}

// Close ends the body. An empty body is one line end.
func (s *simpleBody) Close() error {
	s.hasContent = true
	return s.relaxedBody.Close()
}

// BodyHash hashes a body in one canonical form (RFC 6376 section 3.4) by SHA-256, once for all signatures.
// Its memory does not grow with the body.
type BodyHash struct {
	digests digests
	form    io.WriteCloser
	seen    *relaxedBody // the same, for what it saw
	closed  bool
}

// NewBodyHash starts hashing a body. The caller writes it, without the empty line before it, and closes it.
func NewBodyHash(c Canonicalization) *BodyHash { return newBodyHash(c, nil) }

// newBodyHash is given the lengths that l= tags name, in any order.
func newBodyHash(c Canonicalization, limits []int64) *BodyHash {
	slices.Sort(limits)
	limited := map[int64][sha256.Size]byte{}
	h := &BodyHash{digests: digests{running: sha256.New(), limits: slices.Compact(limits), limited: limited}}
	if c == Simple {
		simple := &simpleBody{relaxedBody{w: &h.digests}}
		h.form, h.seen = simple, &simple.relaxedBody
	} else {
		h.seen = &relaxedBody{w: &h.digests}
		h.form = h.seen
	}
	return h
}

// Write takes a part of the body; lines end with LF or with CRs and LF. It never fails.
func (h *BodyHash) Write(p []byte) (int, error) { return h.form.Write(p) }

// Close ends the body; closing it again does nothing. It never fails.
func (h *BodyHash) Close() error {
	if h.closed {
		return nil
	}
	h.closed = true
	return h.form.Close()
}

// Sum is the hash of the closed body, for bh=. The error wraps ErrUnsignable if the body must not be signed.
func (h *BodyHash) Sum() ([sha256.Size]byte, error) {
	if h.seen.hasBareCR {
		const problem = "the body contains a bare CR, which verifiers interpret differently"
		return [sha256.Size]byte{}, fmt.Errorf("%w: %s", ErrUnsignable, problem)
	}
	return h.digests.whole(), nil
}

// digests notes the hash of a text at several lengths while it passes.
type digests struct {
	running hash.Hash
	length  int64   // so far
	limits  []int64 // lengths to come, ascending
	limited map[int64][sha256.Size]byte
}

// Write implements io.Writer.
func (d *digests) Write(p []byte) (int, error) {
	total := len(p)
	for len(d.limits) > 0 && d.limits[0]-d.length <= int64(len(p)) {
		n := d.limits[0] - d.length
		d.running.Write(p[:n])
		d.length += n
		p = p[n:]
		d.limited[d.limits[0]] = d.whole()
		d.limits = d.limits[1:]
	}
	d.running.Write(p)
	d.length += int64(len(p))
	return total, nil
}

// whole is the hash of all that was written.
func (d *digests) whole() (sum [sha256.Size]byte) {
	d.running.Sum(sum[:0])
	return sum
}

// upTo is the hash of the first octets; false if there are fewer.
func (d *digests) upTo(limit int64) (sum [sha256.Size]byte, ok bool) {
	if limit == d.length {
		return d.whole(), true
	}
	sum, ok = d.limited[limit]
	return sum, ok
}
