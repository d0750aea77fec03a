package filter

import (
	"bytes"
	"errors"
	"strings"

	"github.com/emersion/go-message/mail"

	"postmend/dkim"
)

var errTooLong = errors.New("too long to be parsed")

// authorDomains are those of the message, found out once: a header can name a hundred thousand.
func (m *Message) authorDomains() []string {
	if m.authors == nil {
		m.authors = append([]string{}, authorDomains(m.Header)...)
	}
	return m.authors
}

// authorDomains gives the domains, canonical and each once, that a receiver could take for the author's: those of all
// addresses in all From: fields. A field that does not parse is read leniently, as receivers do, each in its own way:
// then every word after an @ counts. So is one that is longer than cleanup(8) lets through, for parsing takes many times its size.
func authorDomains(header dkim.Header) []string {
	var domains []string
	seen := map[string]bool{}
	add := func(domain string) {
		if domain != "" && !seen[domain] {
			seen[domain] = true
			domains = append(domains, domain)
		}
	}
	for _, field := range header {
		if !field.Is("From") {
			continue
		}
		value := unfold(field.Value())
		var list []*mail.Address
		err := errTooLong
		if len(value) <= maxFromInput {
			list, err = mail.ParseAddressList(value)
		}
		for _, address := range list {
			add(domainOf(address.Address))
		}
		_, rest, found := strings.Cut(value, "@")
		for err != nil && found {
			var word string
			word, rest, found = strings.Cut(rest, "@")
			add(canonicalDomain(leadingDomain(word)))
		}
	}
	return domains
}

// leadingDomain cuts s after the characters that a domain may have.
func leadingDomain(s string) string {
	s = strings.TrimLeft(s, " \t\"<(")
	end := strings.IndexFunc(s, func(r rune) bool {
		return r < 0x80 && !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", r)
	})
	if end >= 0 {
		s = s[:end]
	}
	return strings.Trim(s, ".")
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
			return unfold(field.Value())
		}
		n--
	}
	return ""
}
