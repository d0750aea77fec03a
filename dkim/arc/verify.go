package arc

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"postmend/dkim"
)

// Result is the state of a chain, in the words of RFC 8601, and how it came about. Its texts are printable.
type Result struct {
	// Status is None, Pass, Fail, or TempError if DNS did not tell. The zero value: not verified.
	Status dkim.Status `json:"status"`
	Reason string      `json:"reason,omitempty"` // why it is Fail or TempError
	// OldestPass is the lowest instance from which on all message signatures verify, or 0 if all of the chain
	// do (RFC 8617 section 5.2, step 5). It is nil if the chain does not pass, or if that is not known.
	OldestPass *int `json:"oldest_pass,omitempty"`
	// Sealers are those that the seals name, from instance 1 on; none if the chain is not well-formed.
	Sealers []Sealer `json:"sealers,omitempty"`
}

// Sealer is d= and s= of a seal.
type Sealer struct {
	Domain   string `json:"domain"`
	Selector string `json:"selector"`
}

const (
	// maxOlder bounds the octets of header that are hashed for older message signatures. They do not
	// decide whether the chain passes, so they must not cost much.
	maxOlder = 1 << 20
	// maxCost bounds the cost of verifying, see dkim.Signature.Cost: two signatures for each set. A key of
	// 4096 bits costs 8.
	maxCost = 2 * maxInstance
)

// Verify finds the state of the chain (RFC 8617 section 5.2). Close the dkim.Verifier that was given the
// MessageSignatures first. DNS is asked only if nothing else has failed, for at most two keys for each set,
// in parallel. Call it once.
func (c *Chain) Verify(ctx context.Context, resolver dkim.Resolver) Result {
	switch {
	case c.marked:
		return Result{Status: dkim.Fail, Reason: "the newest seal says cv=fail"}
	case c.broken != "":
		return Result{Status: dkim.Fail, Reason: c.broken}
	case len(c.sets) == 0:
		return Result{Status: dkim.None}
	}
	result := Result{Status: dkim.Fail}
	for _, s := range c.sets {
		domain, selector := s.seal.Signer()
		result.Sealers = append(result.Sealers, Sealer{domain, selector})
	}
	if result.Reason = c.compare(); result.Reason != "" {
		return result
	}
	older, all := c.olderSignatures()
	needed := slices.Clone(older)
	for _, s := range c.sets {
		needed = append(needed, s.seal.Signature)
	}
	dkim.FindKeys(ctx, resolver, append(needed, c.newest().message.Signature))
	cost := c.newest().message.Cost()
	for _, s := range c.sets {
		cost += s.seal.Cost()
	}
	if cost > maxCost {
		result.Reason = "it has too many long keys to be verified"
		return result
	}
	result.Status, result.Reason = c.judge()
	if result.Status == dkim.Pass {
		result.OldestPass = oldestPass(older, len(c.sets), all, maxCost-cost)
	}
	return result
}

func (c *Chain) newest() set { return c.sets[len(c.sets)-1] }

// compare checks the newest message signature and the seals as far as no key is needed.
func (c *Chain) compare() (problem string) {
	newest := c.newest()
	if slices.Contains(newest.message.Names(), "arc-seal") { // RFC 8617 section 4.1.2
		return messageProblem(len(c.sets), "it covers ARC-Seal")
	}
	if newest.message.CheckMessage(); newest.message.Failed() {
		return messageProblem(len(c.sets), newest.message.Verdict().Reason)
	}
	// RFC 8617 section 5.1.1: a seal is over all sets up to its own. Each is hashed once.
	chain := sha256.New()
	for n, s := range c.sets {
		chain.Write(s.results.AppendRelaxed(nil))
		chain.Write(s.message.field.AppendRelaxed(nil))
		if s.seal.Cover(chain); s.seal.Failed() {
			return sealProblem(n+1, s.seal.Verdict().Reason)
		}
		chain.Write(s.seal.field.AppendRelaxed(nil))
	}
	return ""
}

func messageProblem(instance int, reason string) string {
	return fmt.Sprintf("message signature %d: %s", instance, reason)
}

func sealProblem(instance int, reason string) string {
	return fmt.Sprintf("seal %d: %s", instance, reason)
}

// olderSignatures are the message signatures below the newest one that may verify, down to the first that
// cannot. all is false if that would cost too much to find out.
func (c *Chain) olderSignatures() (list []*dkim.Signature, all bool) {
	octets := 0
	for n := len(c.sets) - 2; n >= 0; n-- {
		s := c.sets[n].message
		if octets > maxOlder {
			return list, false
		}
		if octets += s.CheckMessage(); s.Failed() {
			break
		}
		list = append(list, s.Signature)
	}
	return list, true
}

// judge verifies the newest message signature and the seals. A failure counts more than a DNS error.
func (c *Chain) judge() (dkim.Status, string) {
	status, reason := dkim.Pass, ""
	consider := func(v dkim.Verification, text string) (done bool) {
		switch v.Status {
		case dkim.Pass:
			return false
		case dkim.TempError:
			status, reason = dkim.TempError, text
			return false
		}
		status, reason = dkim.Fail, text
		return true
	}
	verdict := c.newest().message.Verdict()
	if consider(verdict, messageProblem(len(c.sets), verdict.Reason)) {
		return status, reason
	}
	for n, s := range slices.Backward(c.sets) {
		verdict := s.seal.Verdict()
		if consider(verdict, sealProblem(n+1, verdict.Reason)) {
			break
		}
	}
	return status, reason
}

// oldestPass goes down from the newest set, which verified. The list has the older signatures that may
// verify, newest first; all is false if the others are not known. The result is nil if verifying them would
// cost more than is left.
func oldestPass(older []*dkim.Signature, sets int, all bool, left int) *int {
	instance := sets
	for _, s := range older {
		if left -= s.Cost(); left < 0 {
			return nil
		}
		switch s.Verdict().Status {
		case dkim.Pass:
			instance--
			continue
		case dkim.TempError:
			return nil
		}
		return &instance
	}
	if !all {
		return nil
	}
	if instance == 1 {
		instance = 0
	}
	return &instance
}
