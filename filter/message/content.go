package message

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"postmend/dkim"
)

// Content is a message as it leaves: fields put on top of what came, fields that stand for others, long lines
// folded. Without any of it, it is what came, octet for octet.
type Content struct {
	added   dkim.Header
	header  dkim.Header // stands for the message's own; nil if that is unchanged
	folded  bool        // long lines are broken, those of the header in header
	message *Message

	relaxed *dkim.BodyHash // of a folded body, see RelaxedBody
}

// Content is the message as it came, to be changed.
func (m *Message) Content() *Content { return &Content{message: m} }

// Prepend puts fields on top.
func (c *Content) Prepend(fields ...dkim.Field) { c.added = slices.Concat(fields, c.added) }

// Header is the whole header as it leaves.
func (c *Content) Header() dkim.Header { return slices.Concat(c.added, c.Remaining()) }

// Remaining is the header below what was put on top.
func (c *Content) Remaining() dkim.Header {
	if c.header != nil {
		return c.header
	}
	return c.message.Header
}

// Replace puts another header in the place of what remains.
func (c *Content) Replace(header dkim.Header) { c.header = header }

// WriteTo implements io.WriterTo.
func (c *Content) WriteTo(w io.Writer) (int64, error) {
	m := c.message
	if len(c.added) == 0 && c.header == nil && !c.folded {
		return m.WriteTo(w)
	}
	written, err := w.Write(c.top())
	n := int64(written)
	if err != nil {
		return n, err
	}
	if c.folded {
		w = &lineFolder{w: w, eol: m.lineEnd()}
	}
	rest, err := m.writeFrom(w, m.bodyAt)
	return n + rest, err
}

// top is the header with the added fields, and the empty line if the message lacks it: cleanup(8) would add
// it anyway, but a body that starts with a blank would be taken for the continuation of a field of ours.
func (c *Content) top() []byte {
	m := c.message
	eol := m.lineEnd()
	var top bytes.Buffer
	top.Grow(m.bodyAt + 4096)
	ours := func(fields dkim.Header) {
		for _, field := range fields {
			if bytes.IndexByte(field, '\r') >= 0 {
				field = bytes.ReplaceAll(field, []byte("\r\n"), eol)
			}
			for len(field) > 0 && (field[len(field)-1] == '\n' || field[len(field)-1] == '\r') {
				field = field[:len(field)-1]
			}
			top.Write(field)
			top.Write(eol)
		}
	}
	ours(c.added)
	if c.header == nil {
		top.Write(m.head[:m.bodyAt])
	} else {
		ours(c.header)
	}
	if body := m.head[m.bodyAt:]; len(body) > 0 && emptyLine(body) == 0 && !m.Oversized {
		top.Write(eol)
	}
	return top.Bytes()
}

// lineEnd is the message's own, LF if it has none.
func (m *Message) lineEnd() []byte {
	if end := bytes.IndexByte(m.head, '\n'); end > 0 && m.head[end-1] == '\r' {
		return []byte("\r\n")
	}
	return []byte("\n")
}

// Fold breaks long lines as smtp(8) would on the way.
func (c *Content) Fold() {
	c.folded = true
	if header := foldFields(c.Remaining(), c.message.lineEnd()); header != nil {
		c.header = header
	}
}

// RelaxedBody is the closed body in relaxed form, as it leaves.
func (c *Content) RelaxedBody() (*dkim.BodyHash, error) {
	if !c.folded {
		return c.message.RelaxedBody()
	}
	if c.relaxed == nil {
		body := dkim.NewBodyHash(dkim.Relaxed)
		if err := c.message.WriteBody(&lineFolder{w: body, eol: c.message.lineEnd()}); err != nil {
			return nil, err
		}
		body.Close()
		c.relaxed = body
	}
	return c.relaxed, nil
}

// Sign puts a DKIM-Signature field of each key on top. It covers the header below what was put on top before.
// The error is dkim.ErrUnsignable, or one of reading the spool.
func (c *Content) Sign(keys []*dkim.Key, now time.Time) error {
	signer, err := dkim.NewSigner(c.Remaining(), keys)
	if err != nil {
		return err
	}
	body, err := c.RelaxedBody()
	if err != nil {
		return err
	}
	signatures, err := signer.Sign(body, now)
	if err == nil {
		c.Prepend(signatures...)
	}
	return err
}

var (
	// ErrEmpty says that there is no message.
	ErrEmpty = errors.New("empty message on standard input")
	// ErrOversized says that a header is too long to be read, see Message.Oversized.
	ErrOversized = errors.New("header of more than 1 MiB or 100,000 fields, or From: of more than 64 KiB")
)

// Sign copies a message from r to w with a DKIM-Signature field of each key on top. All of r is read before w
// is written to.
func Sign(w io.Writer, r io.Reader, keys []*dkim.Key) error {
	m, err := Read(r, Options{})
	if err != nil {
		return err
	}
	defer m.Close()
	if m.Size() == 0 {
		return ErrEmpty
	}
	c := m.Content()
	if err := c.Sign(keys, time.Now()); err != nil {
		return err
	}
	_, err = c.WriteTo(w)
	return err
}

// Verify gives the verdicts on the DKIM signatures of a message, from the top one down. The error is
// ErrOversized, or one of reading.
func Verify(ctx context.Context, r io.Reader, resolver dkim.Resolver) ([]dkim.Verification, error) {
	m, err := Read(r, Options{})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if m.Oversized {
		return nil, ErrOversized
	}
	verifier := dkim.NewVerifier(m.Header, dkim.VerifyOptions{Resolver: resolver})
	if err := m.WriteBody(verifier); err != nil {
		return nil, err
	}
	return verifier.Verify(ctx), nil
}
