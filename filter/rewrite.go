package filter

import (
	"bytes"
	"context"
	"io"
	"time"

	"postmend/dkim"
)

// content is a message as it leaves: fields put on top of what came. Without any it is what came, octet for octet.
type content struct {
	added   dkim.Header
	header  dkim.Header // stands for the message's own; nil if that is unchanged
	folded  bool        // long lines are broken, those of the header in header
	message *Message

	relaxed *dkim.BodyHash // of a folded body, see relaxedBody
}

// remaining is the header below what was added.
func (c content) remaining() dkim.Header {
	if c.header != nil {
		return c.header
	}
	return c.message.Header
}

// WriteTo implements io.WriterTo.
func (c content) WriteTo(w io.Writer) (int64, error) {
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

// top is the header with the added fields, and the empty line if the message lacks it: cleanup(8) would add it anyway, but a
// body that starts with a blank would be taken for the continuation of a field of ours.
func (c content) top() []byte {
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
	if body := m.head[m.bodyAt:]; len(body) > 0 && emptyLine(body) == 0 {
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

// maxTraceValue keeps the trace fields under the 998 octets of RFC 5322 section 2.1.1 with two addresses on a line.
const maxTraceValue = 450

// traceFields are the fields that receivers ask of forwarders; they name the recipient and the alias that led there. Addresses that
// do not fit on a line are left out, and so are those that are not ASCII in a message that is.
func traceFields(r Recipient, utf8 bool) dkim.Header {
	if len(r.Address) > maxTraceValue || len(r.Original) > maxTraceValue || !utf8 && !isASCII(r.Address+r.Original) {
		return nil
	}
	fields := dkim.Header{dkim.Field("X-Forwarded-To: " + r.Address + "\r\n")}
	if r.Original != "" && r.Original != r.Address {
		fields = append(fields, dkim.Field("X-Forwarded-For: "+r.Original+" "+r.Address+"\r\n"))
	}
	return fields
}

// fold breaks long lines.
func (c *content) fold() {
	c.folded = true
	if header := foldFields(c.remaining(), c.message.lineEnd()); header != nil {
		c.header = header
	}
}

// relaxedBody is the closed body in relaxed form, as it leaves.
func (c *content) relaxedBody() (*dkim.BodyHash, error) {
	if !c.folded {
		return c.message.relaxedBody()
	}
	if c.relaxed == nil {
		body := dkim.NewBodyHash(dkim.Relaxed)
		if err := c.message.writeBody(&lineFolder{w: body, eol: c.message.lineEnd()}); err != nil {
			return nil, err
		}
		body.Close()
		c.relaxed = body
	}
	return c.relaxed, nil
}

// sign makes the DKIM-Signature fields, over the header below what was added.
func (c *content) sign(keys []*dkim.Key, now time.Time) (dkim.Header, error) {
	signer, err := dkim.NewSigner(c.remaining(), keys)
	if err != nil {
		return nil, err
	}
	body, err := c.relaxedBody()
	if err != nil {
		return nil, err
	}
	return signer.Sign(body, now)
}

// SignMessage copies a message from r to w with a DKIM-Signature field of each key on top. All of r is read before w is written to.
func SignMessage(w io.Writer, r io.Reader, keys []*dkim.Key) error {
	m, err := spool(r, 0, "")
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.checkWhole(false); err != nil {
		return err
	}
	c := content{message: m}
	if c.added, err = c.sign(keys, time.Now()); err != nil {
		return err
	}
	_, err = c.WriteTo(w)
	return err
}

// VerifyMessage gives the verdicts on the DKIM signatures of a message, from the top one down. A header that is too long to be read is an error.
func VerifyMessage(ctx context.Context, r io.Reader, resolver dkim.Resolver) ([]dkim.Verification, error) {
	m, err := spool(r, 0, "")
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if m.Oversized {
		return nil, &Failure{Kind: BadMessage, Reason: "header of more than 1 MiB, 100,000 fields or 64 KiB of From:"}
	}
	verifier := dkim.NewVerifier(m.Header, dkim.VerifyOptions{Resolver: resolver})
	if err := m.writeBody(verifier); err != nil {
		return nil, err
	}
	return verifier.Verify(ctx), nil
}
