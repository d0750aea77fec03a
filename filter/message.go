package filter

import (
	"bytes"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-message/mail"

	"postmend/dkim"
)

var errNoDomain = errors.New("an address without a domain name")

// authorDomains are those of the message, found out once: a header can name a hundred thousand.
func (m *Message) authorDomains() []string {
	if m.authors == nil {
		m.authors = append([]string{}, authorDomains(m.Header)...)
	}
	return m.authors
}

// authorDomains gives the domains, canonical and each once, that a receiver could take for the author's: those of all
// addresses in all From: fields. A field that does not parse is read leniently, as receivers do, each in its own way, and then all that any
// of them could read counts.
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
		list, err := mail.ParseAddressList(value)
		for _, address := range list {
			domain := domainOf(address.Address)
			if !IsDomain(domain) && !strings.HasPrefix(domain, "[") {
				err = errNoDomain
			}
			add(domain)
		}
		if err != nil {
			lenientDomains(value, add)
			lenientDomains(withoutNoise(value), add)
		}
		if field.HasBareCR() { // which ends the line for some
			lenientDomains(string(bytes.ReplaceAll(field.Value(), []byte("\r"), []byte(" "))), add)
		}
	}
	return domains
}

// lenientDomains finds all words with a dot that stand behind an @: comments, quotes and brackets between them are skipped by some readers and
// not by others. The last word before another @ is the local part of that one's address.
func lenientDomains(value string, add func(domain string)) {
	_, rest, found := strings.Cut(value, "@")
	for found {
		var segment string
		segment, rest, found = strings.Cut(rest, "@")
		last := "" // word with a dot
		for start := 0; start < len(segment); start++ {
			end := start
			for end < len(segment) && isDomainOctet(segment[end]) {
				end++
			}
			if word := strings.Trim(segment[start:end], "."); strings.IndexByte(word, '.') > 0 {
				if last != "" {
					add(canonicalDomain(last))
				}
				last = word
			}
			start = end
		}
		if isLocalPart := found && strings.HasSuffix(segment, last) && strings.TrimLeft(segment, "<( \t") != last; last != "" && !isLocalPart {
			add(canonicalDomain(last))
		}
	}
}

// isDomainOctet tells whether a domain may have an octet. Of those that are not ASCII, IDNA decides.
func isDomainOctet(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' || c >= 0x80
}

// withoutNoise reads a From: value as the most lenient receivers do: encoded words are decoded where an address may be, comments, quotes,
// brackets around a domain, and all that cannot be seen are gone, and so are blanks around dots and the @ (RFC 5322 section 4.4).
func withoutNoise(value string) string {
	at := strings.IndexByte(value, '@') + 1 // names before it are no addresses
	lx := addressLexer{rest: value[:at] + decodeWords(value[at:])}
	var b strings.Builder
	glued := true // to what stands before: then no blank separates
	var last rune
	for {
		t, ok := lx.next()
		if !ok {
			return b.String()
		}
		text := strings.Map(func(r rune) rune {
			switch {
			case r == '＠' || r == '﹫':
				return '@'
			case r == '[' || r == ']' || r == utf8.RuneError || !unicode.IsGraphic(r) || unicode.IsSpace(r), r == '.' && last == '.':
				return -1
			}
			last = r
			return r
		}, t.text)
		if text == "" {
			continue
		}
		if t.spaced && !glued && text[0] != '.' && text[0] != '@' && !strings.HasPrefix(text, "(") {
			b.WriteByte(' ')
		}
		b.WriteString(text)
		glued = text[len(text)-1] == '.' || text[len(text)-1] == '@'
	}
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
