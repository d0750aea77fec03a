package message

import "postmend/dkim"

// FoldedBody is the closed body in relaxed form, its long lines folded as smtp(8) and lmtp(8) fold them
// on the way: the same before and after such a delivery.
func (m *Message) FoldedBody() (*dkim.BodyHash, error) {
	if m.folded != nil {
		return m.folded, nil
	}
	if m.LongestLine <= MaxLine {
		return m.RelaxedBody()
	}
	body := dkim.NewBodyHash(dkim.Relaxed)
	if err := m.WriteBody(&lineFolder{w: body, eol: m.lineEnd()}); err != nil {
		return nil, err
	}
	body.Close()
	m.folded = body
	return body, nil
}

// FoldedHeader is the header with its long lines folded in the same way.
func (m *Message) FoldedHeader() dkim.Header {
	if m.LongestLine > MaxLine {
		if folded := foldFields(m.Header, m.lineEnd()); folded != nil {
			return folded
		}
	}
	return m.Header
}

// foldedHash makes a FoldedBody while the message is read.
type foldedHash struct {
	body   *dkim.BodyHash
	folder lineFolder
}

func newFoldedHash() *foldedHash {
	body := dkim.NewBodyHash(dkim.Relaxed)
	return &foldedHash{body: body, folder: lineFolder{w: body, eol: []byte("\n")}}
}

// write takes the next octets of the body, which m has scanned. While no line is long there is nothing
// to fold. (A CR within a line makes columns differ, and the hash worthless.)
func (h *foldedHash) write(b []byte, m *Message) {
	if m.LongestLine <= MaxLine {
		h.body.Write(b)
		h.folder.column = m.line
		return
	}
	h.folder.Write(b)
}

func (h *foldedHash) close(m *Message) {
	h.body.Close()
	m.folded = h.body
	if m.LongestLine <= MaxLine {
		m.relaxed = h.body
	}
}
