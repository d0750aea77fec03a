package config

import (
	"fmt"
	"strings"

	"postmend/filter/domain"
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
	maxSpamValue = 200 // octets of a rule's value
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

func (r Spam) check() error {
	isOther := func(c rune) bool { return c <= ' ' || c > '~' || c == ':' }
	isControl := func(c rune) bool { return c < ' ' || c == 0x7f }
	switch {
	case r.Field == "" || strings.ContainsFunc(r.Field, isOther):
		return fmt.Errorf("field: %q is not the name of a header field", r.Field)
	case strings.TrimSpace(r.Value) != r.Value || r.Value == "" || len(r.Value) > maxSpamValue:
		return fmt.Errorf("value: %q is empty, too long, or has blanks at an end", r.Value)
	case r.Action == SpamRedirect && domain.Name(domain.Of(r.Redirect)) == "":
		return fmt.Errorf("redirect: %q is not an address", r.Redirect)
	case r.Action != SpamRedirect && r.Redirect != "":
		return fmt.Errorf("redirect is set, but action is %q", r.Action)
	case strings.ContainsFunc(r.Redirect, isControl):
		return fmt.Errorf("redirect: %q has a control character", r.Redirect)
	}
	return oneOf("action", string(r.Action), string(SpamDiscard), string(SpamUnsigned), string(SpamRedirect))
}

// CheckRedirects rejects a redirect to another host: the message must not leave.
func CheckRedirects(rules []Spam, local domain.Set) error {
	for i, r := range rules {
		if r.Action == SpamRedirect && !local.Has(domain.Of(r.Redirect)) {
			return fmt.Errorf("spam, number %d: redirect: the domain of %q is not in local_domains",
				i+1, r.Redirect)
		}
	}
	return nil
}
