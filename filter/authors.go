package filter

import (
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"postmend/filter/domain"
	"postmend/filter/message"
)

// authors are the domains of From:, see message.Authors, and those that a reader sees who ends a domain at a
// hyphen or a character that is not ASCII, as python3-authheaders does: "bank.test" in
// "bank.test-x.evil.example". They count only where this host could make them pass: where they are aligned with
// a domain of ours or with the envelope sender. Else the proof of every domain with a hyphen would be lost.
func (p *policy) authors(env *Envelope, m *message.Message) []string {
	ours := []string{p.defaultSigner, p.srsDomain, p.spfDomain(env.Sender)}
	authors := m.Authors()
	for _, author := range m.Authors() {
		for _, short := range cutShort(author) {
			if alignedWithAny(short, ours) && !slices.Contains(authors, short) {
				authors = append(slices.Clip(authors), short)
			}
		}
	}
	return authors
}

// cutShort gives what stands in a domain before its hyphens and before its characters that are not ASCII.
func cutShort(name string) (short []string) {
	if strings.IndexByte(name, '-') < 0 {
		return nil
	}
	text := name
	if unicode, err := idna.ToUnicode(name); err == nil {
		text = unicode
	}
	for i, r := range text {
		if r != '-' && r < 0x80 {
			continue
		}
		if name := domain.Name(strings.TrimRight(text[:i], ".-")); strings.Contains(name, ".") {
			short = append(short, name)
		}
	}
	return short
}
