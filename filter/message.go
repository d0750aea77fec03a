package filter

import (
	"bytes"
	"strings"

	"postmend/dkim"
)

// authorDomains are those of the message, found out once: a header can name a hundred thousand.
func (m *Message) authorDomains() []string {
	if m.authors == nil {
		m.authors = append([]string{}, authorDomains(m.fromValues)...)
	}
	return m.authors
}

// unfold joins the lines of a field's value (RFC 5322 section 2.2.3).
func unfold(value []byte) string {
	return string(bytes.TrimSpace(bytes.ReplaceAll(bytes.ReplaceAll(value, []byte("\r"), nil), []byte("\n"), nil)))
}

// cameWithUTF8 tells whether the client asked for SMTPUTF8: then the Received: field that Postfix put on top says so
// (RFC 6531 section 4.3).
func (m *Message) cameWithUTF8() bool {
	return strings.Contains(m.received(0), "with UTF8SMTP")
}

// maxReceived is more than a Received: field of Postfix's has, in octets.
const maxReceived = 8 << 10

// received is the value of the nth Received: field from the top, unfolded; "" if there are not so many. The topmost is the newest.
func (m *Message) received(n int) string {
	header := m.Header
	if m.Oversized {
		const enough = 64 << 10
		header, _ = dkim.SplitHeader(m.head[:min(len(m.head), enough)])
	}
	for _, field := range header {
		if !field.Is("Received") {
			continue
		}
		if n == 0 {
			return unfold(field.Value()[:min(len(field.Value()), maxReceived)])
		}
		n--
	}
	return ""
}
