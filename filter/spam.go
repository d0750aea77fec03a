package filter

import (
	"net"
	"strings"
	"unicode"
	"unicode/utf8"

	"postmend/dkim"
	"postmend/filter/cause"
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

// divertSpam plans for forwarded mail that does not leave because of a rule; it is false for other mail. What
// the mailbox for spam itself sends on is left unsigned instead.
func (p *policy) divertSpam(d *Delivery, msg facts) bool {
	if msg.spam == nil {
		return false
	}
	to := msg.spam.Redirect
	switch { // its recipients are of one kind
	case msg.cameFromSpam(d.Recipients[0]): // the mailbox sends it on: there would be no end
	case msg.spam.Action == config.SpamDiscard:
		d.because(cause.SpamDiscarded, msg.spam.Field)
		d.discarded = true
		return true
	case msg.spam.Action == config.SpamRedirect:
		d.because(cause.SpamRedirected, msg.spam.Field, to)
		d.Class, d.Recipients = Local, []Recipient{{Address: to}}
		return true
	}
	return false
}

// cameFromSpam tells whether a message goes on to a recipient from the mailbox that its rule redirects to.
func (f facts) cameFromSpam(r Recipient) bool {
	return f.spam != nil && f.spam.Action == config.SpamRedirect &&
		strings.EqualFold(f.alias(r), f.spam.Redirect)
}

// unsignedSpam plans for marked mail that leaves: nothing on it speaks for this host but the sender.
func (p *policy) unsignedSpam(d *Delivery, env *Envelope, msg facts) *cause.Failure {
	d.because(cause.SpamNotSigned, msg.spam.Field)
	p.spareSignatures(d, msg)
	return p.mendSender(d, env, msg)
}
