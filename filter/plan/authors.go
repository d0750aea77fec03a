package plan

import (
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"postmend/filter/domain"
	"postmend/filter/message"
)

// Authors are the domains of From:, see message.Authors, and those that some reader could take for the
// author's only by reading it in a way of its own. These count where this host could make them pass, so where
// they are aligned with a domain of ours or with the envelope sender; else the proof of every odd field would
// be lost:
//
//   - what a reader sees who ends a domain at a hyphen or a character that is not ASCII, as
//     python3-authheaders does: "bank.test" in "bank.test-x.evil.example";
//   - what stands in a name or a comment, for those who read it there, see message.StrayAuthors;
//   - in a field that is not plain, whatever could be put together from its characters, see message.MayName.
func (p *Policy) Authors(env *Envelope, m *message.Message) []string {
	ours := append([]string{p.defaultSigner, p.srsDomain}, p.spfDomains(env.Sender)...)
	authors := slices.Clip(m.Authors())
	add := func(name string) {
		if !slices.Contains(authors, name) {
			authors = append(authors, name)
		}
	}
	addOurs := func(names []string) {
		for _, name := range names {
			if alignedWithAny(name, ours) {
				add(name)
			}
		}
	}
	for _, author := range m.Authors() {
		addOurs(cutShort(author))
	}
	addOurs(m.StrayAuthors())
	for _, name := range ours {
		if org := domain.Organisational(name); org != "" && !alignedWithAny(org, authors) && m.MayName(org) {
			add(org)
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
