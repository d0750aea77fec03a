// Package arc verifies and extends Authenticated Received Chains (RFC 8617). In a chain, each host that
// forwarded a message records its authentication results, and signs them. The package uses the code of
// package dkim, so that one pass over the body serves DKIM and ARC.
//
// It does not decide whom to trust: if a chain passes, its sealers have written what it says, which may be
// wrong.
package arc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"postmend/dkim"
)

const (
	maxInstance = 50              // of a chain (RFC 8617 section 4.2.1)
	maxFields   = 3 * maxInstance // of a message whose ARC fields are read at all
)

// set is an ARC set (RFC 8617 section 4.2): results are the ARC-Authentication-Results, message is the
// ARC-Message-Signature.
type set struct {
	results       dkim.Field
	message, seal *signature
}

// signature is a signature and the field that it is in.
type signature struct {
	*dkim.Signature
	field dkim.Field
}

// Chain is the ARC sets of a message. The zero value is that of a message without any.
type Chain struct {
	sets    []set  // from instance 1 on; each is whole, unless the chain is broken
	broken  string // what is wrong with the chain, as far as no signature has to be verified
	highest int    // instance, of any field
	marked  bool   // the newest seal says cv=fail
}

// IsEmpty tells whether the message has no ARC field at all.
func (c *Chain) IsEmpty() bool { return c.highest == 0 && c.broken == "" }

// Read finds the chain in a header, which must not be changed afterwards.
func Read(header dkim.Header) *Chain {
	var fields dkim.Header
	for _, field := range header {
		if isResults(field) || isMessageSignature(field) || isSeal(field) {
			fields = append(fields, field)
		}
	}
	c := &Chain{}
	if len(fields) > maxFields {
		// Too many to be a chain.
		c.highest, c.broken = maxInstance, fmt.Sprintf("more than %d ARC fields", maxFields)
		return c
	}
	sets := make([]set, maxInstance)
	for _, field := range fields {
		if problem := c.sort(sets, field); problem != "" && c.broken == "" {
			c.broken = problem
		}
	}
	c.sets = sets[:min(c.highest, maxInstance)]
	for n, s := range c.sets {
		if s.seal != nil && n+1 == c.highest {
			cv, _ := s.seal.Tag("cv")
			c.marked = cv == "fail"
		}
		if problem := s.check(n + 1); problem != "" && c.broken == "" {
			c.broken = problem
		}
	}
	return c
}

func isResults(f dkim.Field) bool          { return f.Is("ARC-Authentication-Results") }
func isMessageSignature(f dkim.Field) bool { return f.Is("ARC-Message-Signature") }
func isSeal(f dkim.Field) bool             { return f.Is("ARC-Seal") }

// sort puts a field into its set. It returns what is wrong with the field, or "".
func (c *Chain) sort(sets []set, field dkim.Field) (problem string) {
	var s *signature
	var text string
	switch {
	case isResults(field):
		text = resultsInstance(field)
	case isMessageSignature(field):
		s = &signature{dkim.ParseMessageSignature(field), field}
	default:
		s = &signature{dkim.ParseSeal(field), field}
	}
	if s != nil {
		text, _ = s.Tag("i")
	}
	instance := parseInstance(text)
	c.highest = max(c.highest, instance)
	switch {
	case instance == 0:
		return fmt.Sprintf("%s without a valid i=", field.Name())
	case field.HasBareCR():
		return fmt.Sprintf("%s with a CR within a line", field.Name())
	case instance > maxInstance:
		return fmt.Sprintf("instance %d, and %d is the highest", instance, maxInstance)
	}
	twice := false
	switch place := &sets[instance-1]; {
	case s == nil:
		twice = place.results != nil
		place.results = field
	case isSeal(field):
		twice = place.seal != nil
		place.seal = s
	default:
		twice = place.message != nil
		place.message = s
	}
	if twice {
		return fmt.Sprintf("two %s with i=%d", field.Name(), instance)
	}
	return ""
}

// resultsInstance is the value of i=, which an ARC-Authentication-Results begins with (RFC 8617 section
// 4.1.1).
func resultsInstance(field dkim.Field) string {
	first, _, found := bytes.Cut(field.Value(), []byte(";"))
	name, value, _ := bytes.Cut(first, []byte("="))
	if !found || string(bytes.TrimSpace(name)) != "i" {
		return ""
	}
	return string(bytes.TrimSpace(value))
}

// parseInstance reads one or two digits; it gives 0 for anything else.
func parseInstance(s string) int {
	if len(s) > 2 || strings.Trim(s, "0123456789") != "" {
		return 0
	}
	n, _ := strconv.Atoi(s)
	return n
}

// check verifies that a set is complete, and that its seal has the cv= of its place (RFC 8617 section 5.2,
// step 3).
func (s set) check(instance int) (problem string) {
	if s.results == nil || s.message == nil || s.seal == nil {
		return fmt.Sprintf("set %d is not whole", instance)
	}
	wanted := "pass"
	if instance == 1 {
		wanted = "none"
	}
	if cv, _ := s.seal.Tag("cv"); cv != wanted {
		return fmt.Sprintf("seal %d: cv= is not %s", instance, wanted)
	}
	if _, found := s.seal.Tag("h"); found { // section 4.1.3
		return fmt.Sprintf("seal %d has h=", instance)
	}
	return ""
}

// MessageSignatures are for dkim.NewVerifier, which hashes the body. A chain that cannot pass has none.
func (c *Chain) MessageSignatures() []*dkim.Signature {
	if c.broken != "" || c.marked {
		return nil
	}
	var list []*dkim.Signature
	for _, s := range c.sets {
		list = append(list, s.message.Signature)
	}
	return list
}

// Obstacle tells why no set can be added to the chain; "" if one can be. A nil chain, of a message that was
// not examined, has no obstacle.
func (c *Chain) Obstacle() string {
	switch {
	case c == nil:
		return ""
	case c.marked:
		return "its newest seal says cv=fail" // RFC 8617 section 5.1: no set may be added
	case c.highest >= maxInstance:
		return "it has as many sets as a chain may have"
	}
	return ""
}
