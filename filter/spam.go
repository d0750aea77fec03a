package filter

import (
	"net"
	"strings"
	"unicode"
	"unicode/utf8"

	"postmend/dkim"
	"postmend/filter/config"
	"postmend/filter/message"
)

// maxMark is how much of a field is compared, in octets.
const maxMark = 1 << 10

// marks tells whether a field has the value of a rule, or one that begins with it as a word: "Yes" also
// matches "Yes, score=7", in any case of letters.
func marks(r config.Spam, field dkim.Field) bool {
	if !field.Is(r.Field) {
		return false
	}
	value := field.Value()
	text := strings.TrimSpace(dkim.Unfold(value[:min(len(value), maxMark)]))
	if len(text) < len(r.Value) || !strings.EqualFold(text[:len(r.Value)], r.Value) {
		return false
	}
	next, _ := utf8.DecodeRuneInString(text[len(r.Value):])
	return len(text) == len(r.Value) || !unicode.IsLetter(next) && !unicode.IsDigit(next)
}

// spamRule is the first rule that a message matches; nil if there is none. Only fields that this host has
// written count, as far as Received: fields tell: what a sender wrote would let him choose among the actions.
func (f *Filter) spamRule(m *message.Message) *config.Spam {
	if len(f.config.Spam) == 0 {
		return nil
	}
	own := message.OwnPart(m.Header, f.config.Hostname, net.InterfaceAddrs)
	for i := range f.config.Spam {
		for _, field := range own {
			if marks(f.config.Spam[i], field) {
				return &f.config.Spam[i]
			}
		}
	}
	return nil
}
