package plan

import (
	"strings"

	"postmend/filter/cause"
	"postmend/filter/config"
)

// divertSpam plans for forwarded mail that does not leave because of a rule; it is false for other mail. What
// the mailbox for spam itself sends on is left unsigned instead.
func (p *Policy) divertSpam(d *Delivery, msg Facts) bool {
	if msg.Spam == nil {
		return false
	}
	to := msg.Spam.Redirect
	switch { // its recipients are of one kind
	case msg.cameFromSpam(d.Recipients[0]): // the mailbox sends it on: there would be no end
	case msg.Spam.Action == config.SpamDiscard:
		d.because(cause.SpamDiscarded, msg.Spam.Field)
		d.discarded = true
		return true
	case msg.Spam.Action == config.SpamRedirect:
		d.because(cause.SpamRedirected, msg.Spam.Field, to)
		d.Class, d.Recipients = Local, []Recipient{{Address: to}}
		return true
	}
	return false
}

// cameFromSpam tells whether a message goes on to a recipient from the mailbox that its rule redirects to.
func (f Facts) cameFromSpam(r Recipient) bool {
	return f.Spam != nil && f.Spam.Action == config.SpamRedirect &&
		strings.EqualFold(f.Alias(r), f.Spam.Redirect)
}

// unsignedSpam plans for marked mail that leaves: nothing on it speaks for this host but the sender.
func (p *Policy) unsignedSpam(d *Delivery, env *Envelope, msg Facts) *cause.Failure {
	d.because(cause.SpamNotSigned, msg.Spam.Field)
	p.spareSignatures(d, msg)
	return p.mendSender(d, env, msg)
}
