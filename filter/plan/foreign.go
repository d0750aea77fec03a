package plan

import (
	"slices"

	"postmend/dkim"
	"postmend/filter/authn"
	"postmend/filter/cause"
	"postmend/filter/domain"
)

// mendForeign plans for mail from outside that leaves again. Three rules stand above all others:
//
//   - Nothing we add may make a message pass DMARC for a From: domain for which it did not pass on arrival.
//   - A signature that is still valid is not broken, and if one of the author's survives, From: stays.
//   - DNS trouble that could change the plan keeps the message in the queue, but not for ever.
func (p *Policy) mendForeign(d *Delivery, env *Envelope, msg Facts) *cause.Failure {
	d.becauseOrigin(env.Origin)
	if msg.Oversized {
		d.because(cause.Unread)
		return nil
	}
	if p.divertSpam(d, msg) {
		return nil
	}
	if msg.Proven.Temporary() && msg.Patient {
		return cause.DNSTrouble(msg.Proven.DMARC.Reason)
	}
	d.Stamp, d.Purge = true, msg.Claimed > 0 || msg.Recalled != nil
	if !msg.Authentic() && p.claimsOurs(env, msg) {
		d.because(cause.OwnDomainClaimed, msg.claimedDomains())
		return p.forgedOwnDomain(d, env, msg)
	}
	// After dns_patience, missing DNS answers do not count as a failure: mail is not rejected for them.
	hasFailed := !msg.Authentic() && msg.isStrict() && msg.Proven.DMARC.Status != authn.TempError
	if msg.Spam != nil && !(hasFailed && p.dmarc.OnDMARCFail != "forward") {
		return p.unsignedSpam(d, env, msg)
	}
	if err := p.settleAuthor(d, env, msg); err != nil {
		return err
	}
	if !msg.Authentic() && d.From == "" {
		if hasFailed {
			return p.failedDMARC(d, env, msg)
		}
		d.because(cause.FromUnproved, msg.Proven.DMARC.Status)
	}
	if d.SignAs == "" {
		d.SignAs = p.defaultSigner
	}
	d.Trace = d.Class == Forwarded && len(d.Recipients) == 1 && msg.isTraceable(d.Recipients[0])
	if err := p.planARC(d, msg); err != nil {
		return err
	}
	p.spareSignatures(d, msg)
	return p.mendSender(d, env, msg)
}

// mendSender is rewriteSender for mail from outside. A sender that rewriteSender would keep must not make the
// message pass DMARC. One that is rewritten cannot, and needs no look-up.
func (p *Policy) mendSender(d *Delivery, env *Envelope, msg Facts) *cause.Failure {
	s, err := p.SenderFor(env.Sender)
	if err == nil && s.Address == "" {
		if done, err := p.disownSender(d, env, msg); done || err != nil {
			return err
		}
	}
	d.send(s)
	return err
}

// failedDMARC plans for mail that failed DMARC under quarantine or reject. Mail under quarantine gets an SRS
// sender, so that it reaches the spam folder: with its own sender it would be rejected for SPF.
func (p *Policy) failedDMARC(d *Delivery, env *Envelope, msg Facts) *cause.Failure {
	switch p.dmarc.OnDMARCFail {
	case "reject":
		return cause.DMARCFailed.Failure(nil, msg.claimedDomains(), msg.Proven.DMARC.Policy)
	case "discard":
		d.because(cause.FailedDiscarded)
		d.discarded = true
		return nil
	}
	if err := p.planARC(d, msg); err != nil {
		return err
	}
	if msg.Proven.DMARC.Policy == authn.PolicyQuarantine {
		d.because(cause.FailedUnsigned)
		return p.mendSender(d, env, msg)
	}
	d.because(cause.FailedUnchanged)
	_, err := p.disownSender(d, env, msg)
	return err
}

// planARC plans for an ARC set. Mail that failed DMARC gets one, too: the set says that it failed, and ARC is
// made for such mail, if it arrived with a chain. Unauthenticated mail that claims a domain of ours never
// gets here: it must carry nothing in our name.
func (p *Policy) planARC(d *Delivery, msg Facts) *cause.Failure {
	isFor := func(r Recipient) bool { return p.sealFor == nil || p.sealFor.Has(domain.Of(r.Address)) }
	if p.sealer == "" || !slices.ContainsFunc(d.Recipients, isFor) {
		return nil
	}
	if p.sparing {
		if survivor := p.sealIsNeedless(d, msg); survivor != "" {
			d.because(cause.UnsealedNeedless, survivor)
			return nil
		}
	}
	if err := msg.Sealing.Err; err != nil {
		return cause.KeyUnusable.Failure(err)
	}
	if msg.Sealing.Key == nil {
		d.because(cause.UnsealedNoKey, p.sealer)
		return nil
	}
	if obstacle := msg.Proven.Chain.Obstacle(); obstacle != "" {
		d.because(cause.UnsealedChain, obstacle)
		return nil
	}
	if msg.Proven.ARC.Status == dkim.TempError {
		if msg.Patient {
			return cause.DNSTrouble("ARC: " + msg.Proven.ARC.Reason)
		}
		d.because(cause.UnsealedDNS)
		return nil
	}
	d.Seal = true
	return nil
}

// sealIsNeedless tells whether a receiver has no use for our results: the message did not fail DMARC, a
// signature of the author's is still valid at the next hop, and no chain came with it, which would end here
// without a set of ours. It gives the domain of that signature.
func (p *Policy) sealIsNeedless(d *Delivery, msg Facts) (survivor string) {
	if d.From != "" || !msg.Proven.Chain.IsEmpty() {
		return ""
	}
	switch msg.Proven.DMARC.Status {
	case authn.Pass:
		survivor, _ = p.survivor(msg)
	case authn.None:
		for _, signature := range msg.Proven.DKIM {
			name := domain.Canonical(signature.Domain)
			if signature.Status == dkim.Pass && alignedWithAny(name, msg.Authors) &&
				msg.breaks(signature).Cause == 0 {
				return name
			}
		}
	}
	return survivor
}

// spareSignatures drops what would break a signature of the author's: a field that h= lists more often than
// it occurs must not be added.
func (p *Policy) spareSignatures(d *Delivery, msg Facts) {
	if d.From != "" {
		return // it does not survive anyway
	}
	for _, signature := range msg.authorSignatures() {
		forbids := func(name string) bool { return timesSigned(signature, name) > msg.occurrences[name] }
		if d.SignAs != "" && forbids("dkim-signature") {
			d.SignAs = ""
			d.because(cause.UnsignedForbidden)
		}
		if d.Stamp && forbids("authentication-results") {
			d.Stamp = false
		}
		if d.Seal && (forbids("arc-seal") || forbids("arc-message-signature") ||
			forbids("arc-authentication-results")) {
			d.Seal = false
			d.because(cause.UnsealedForbidden)
		}
		if d.Trace && (forbids("x-forwarded-to") || forbids("x-forwarded-for")) {
			d.Trace = false
		}
	}
}

// maxTraceValue keeps the trace fields under the 998 octets of RFC 5322 section 2.1.1 with two addresses on a
// line.
const maxTraceValue = 450

// isTraceable tells whether trace fields can name a recipient: the addresses fit on a line, and are ASCII in
// a message that is.
func (f Facts) isTraceable(r Recipient) bool {
	alias := f.Alias(r)
	return len(r.Address) <= maxTraceValue && len(alias) <= maxTraceValue &&
		(f.CameWithUTF8 || isASCII(r.Address+alias))
}
