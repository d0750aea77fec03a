// Package message is what a message is: read to its end with flat memory, its fields, the domains of its
// authors, what its Received: fields tell, and how it leaves, octet for octet where nobody changed it.
package message

import (
	"strings"

	"postmend/dkim"
	"postmend/filter/message/author"
)

// Authors are the domains that a receiver could take for the author's, see author.Fields. They are found out
// once: a header can name a hundred thousand.
func (m *Message) Authors() []string {
	if m.authors == nil {
		m.authors = append([]string{}, m.from.Domains()...)
	}
	return m.authors
}

// Mailbox is the one author in a form that no mail system on the way rewrites, see author.Fields.
func (m *Message) Mailbox() (mailbox author.Mailbox, ok bool) { return m.from.Mailbox() }

// KeepsName tells whether Postfix keeps the author's name, whatever it does to the address.
func (m *Message) KeepsName() bool { return m.from.KeepsName() }

// MayName tells whether some receiver could take a domain for the author's that is not among Authors,
// because From: is not plain.
func (m *Message) MayName(name string) bool { return m.from.MayName(name) }

// StrayAuthors are the domains of addresses in names and comments of From: that some receivers take for the
// author's although the field leaves no doubt, see author.Fields.Stray.
func (m *Message) StrayAuthors() []string { return m.from.Stray() }

// CameWithUTF8 tells whether the client asked for SMTPUTF8: then the Received: field that Postfix put on
// top says so (RFC 6531 section 4.3).
func (m *Message) CameWithUTF8() bool {
	return strings.Contains(m.Received(0), "with UTF8SMTP")
}

// Top is the header, or its beginning if it is too long to be read.
func (m *Message) Top() dkim.Header {
	if !m.Oversized {
		return m.Header
	}
	const enough = 64 << 10
	header, _ := dkim.SplitHeader(m.head[:min(len(m.head), enough)])
	return header
}

// Received is the value of the nth Received: field from the top, unfolded; "" if there are not so many. The
// topmost is the newest.
func (m *Message) Received(n int) string {
	for _, field := range m.Top() {
		if !field.Is("Received") {
			continue
		}
		if n == 0 {
			return receivedText(field)
		}
		n--
	}
	return ""
}
