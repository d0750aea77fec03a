package filter

import (
	"fmt"
	"net"
	"strings"
	"unicode"
	"unicode/utf8"

	"postmend/dkim"
	"postmend/filter/cause"
	"postmend/filter/domain"
	"postmend/filter/message"
)

// SpamAction is what happens to forwarded mail that an earlier filter marked.
type SpamAction string

// The actions.
const (
	SpamDiscard  SpamAction = "discard"
	SpamUnsigned SpamAction = "unsigned" // it leaves with an SRS sender, without signature and ARC set
	SpamRedirect SpamAction = "redirect" // it is delivered to a mailbox here instead
)

const (
	maxSpamRules = 50
	maxSpamValue = 200     // octets of a rule's value
	maxMark      = 1 << 10 // octets of a field that are compared
)

// checkSpam checks the rules.
func (c *Config) checkSpam() error {
	if len(c.Spam) > maxSpamRules {
		return fmt.Errorf("spam: %d rules, %d are allowed", len(c.Spam), maxSpamRules)
	}
	for i, r := range c.Spam {
		if err := r.check(); err != nil {
			return fmt.Errorf("spam, number %d: %w", i+1, err)
		}
	}
	return nil
}

func (r SpamConfig) check() error {
	isOther := func(c rune) bool { return c <= ' ' || c > '~' || c == ':' }
	switch {
	case r.Field == "" || strings.ContainsFunc(r.Field, isOther):
		return fmt.Errorf("field: %q is not the name of a header field", r.Field)
	case strings.TrimSpace(r.Value) != r.Value || r.Value == "" || len(r.Value) > maxSpamValue:
		return fmt.Errorf("value: %q is empty, too long, or has blanks at an end", r.Value)
	case r.Action == SpamRedirect && domain.Name(domain.Of(r.Redirect)) == "":
		return fmt.Errorf("redirect: %q is not an address", r.Redirect)
	case r.Action != SpamRedirect && r.Redirect != "":
		return fmt.Errorf("redirect is set, but action is %q", r.Action)
	case indexControl(r.Redirect) >= 0:
		return fmt.Errorf("redirect: %q has a control character", r.Redirect)
	}
	return oneOf("action", string(r.Action), string(SpamDiscard), string(SpamUnsigned), string(SpamRedirect))
}

// checkRedirects rejects a redirect to another host: the message must not leave.
func checkRedirects(rules []SpamConfig, local domain.Set) error {
	for i, r := range rules {
		if r.Action == SpamRedirect && !local.Has(domain.Of(r.Redirect)) {
			return fmt.Errorf("spam, number %d: redirect: the domain of %q is not in local_domains",
				i+1, r.Redirect)
		}
	}
	return nil
}

// matches tells whether a field has the value, or one that begins with it as a word: "Yes" also matches "Yes,
// score=7", in any case of letters.
func (r SpamConfig) matches(field dkim.Field) bool {
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
func (f *Filter) spamRule(m *message.Message) *SpamConfig {
	if len(f.config.Spam) == 0 {
		return nil
	}
	own := message.OwnPart(m.Header, f.config.Hostname, net.InterfaceAddrs)
	for i := range f.config.Spam {
		for _, field := range own {
			if f.config.Spam[i].matches(field) {
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
	case msg.spam.Action == SpamDiscard:
		d.because(cause.SpamDiscarded, msg.spam.Field)
		d.discarded = true
		return true
	case msg.spam.Action == SpamRedirect:
		d.because(cause.SpamRedirected, msg.spam.Field, to)
		d.Class, d.Recipients = Local, []Recipient{{Address: to}}
		return true
	}
	return false
}

// cameFromSpam tells whether a message goes on to a recipient from the mailbox that its rule redirects to.
func (f facts) cameFromSpam(r Recipient) bool {
	return f.spam != nil && f.spam.Action == SpamRedirect && strings.EqualFold(f.alias(r), f.spam.Redirect)
}

// unsignedSpam plans for marked mail that leaves: nothing on it speaks for this host but the sender.
func (p *policy) unsignedSpam(d *Delivery, env *Envelope, msg facts) *cause.Failure {
	d.because(cause.SpamNotSigned, msg.spam.Field)
	p.spareSignatures(d, msg)
	return p.mendSender(d, env, msg)
}
