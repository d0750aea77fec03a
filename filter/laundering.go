package filter

import (
	"slices"

	"postmend/dkim"
	"postmend/filter/authn"
	"postmend/filter/cause"
	"postmend/filter/domain"
	"postmend/srs"
)

// The rule: nothing we add, not even our forwarding it, makes a message pass DMARC for a From: domain for
// which it did not pass on arrival. wouldPass says whether a delivery would; claimsOurs finds mail that our
// usual mending would make pass, so that it is not mended; refuseLaundering checks every delivery last.

// passing is whether a message that proves nothing would pass DMARC because this host sends it on.
type passing int

const (
	wouldNot passing = iota
	would
	notAsked // it depends on whether SPF names this host for its sender
	notKnown // DNS did not tell
)

// wouldPass tells whether a message that proves nothing could pass DMARC if it left with a sender, and signed
// for a domain ("" is not signed). Of a header that was not read, From: may be any.
//
// SPF is not asked about a sender that SRS made, nor where there is nothing to pass: there, our own domains
// are taken to name this host, which they should.
func (p *policy) wouldPass(sender, signer string, env *Envelope, msg facts) passing {
	switch transit := msg.proven.transit.status; {
	case signer != "" && (msg.oversized || msg.couldAlign(signer)):
		return would
	case !msg.oversized && !slices.ContainsFunc(p.spfDomains(sender), msg.couldAlign):
		return wouldNot
	case sender != env.Sender || msg.nothingToPass():
		if p.isOwn(sender) {
			return would
		}
		return wouldNot
	case msg.passedIfRead(env):
		return wouldNot
	case transit == "":
		return notAsked
	case transit == authn.TempError:
		return notKnown
	case transit == authn.Pass:
		return would
	}
	return wouldNot
}

// nothingToPass tells whether no receiver could find a DMARC record for From:, not even an odd one.
func (f facts) nothingToPass() bool {
	return f.proven.DMARC.Status == authn.None && !f.proven.DMARC.Odd && !f.oversized
}

// mayBeStrict tells whether a domain of From: asks receivers to act, or could, because From: has more domains
// than are looked up, or one that cannot be: a sender's choice, unlike an answer of DNS that is missing.
func (f facts) mayBeStrict() bool {
	n := len(f.authors)
	return f.isStrict() || f.oversized || n > authn.MaxAuthors ||
		n == 1 && f.proven.DMARC.Status == authn.PermError
}

// passedIfRead tells whether receivers who apply an odd DMARC record have let the message pass on arrival, if
// they would for the same sender now: SPF passed for it, or a signature of the author's own domain.
func (f facts) passedIfRead(env *Envelope) bool {
	isAuthors := func(v dkim.Verification) bool {
		return v.Status == dkim.Pass && slices.Equal(f.authors, []string{domain.Canonical(v.Domain)})
	}
	return f.proven.DMARC.Status == authn.None && f.proven.DMARC.Odd &&
		(f.proven.SPF.Status == authn.Pass && f.couldAlign(domain.Of(env.Sender)) ||
			slices.ContainsFunc(f.proven.DKIM, isAuthors))
}

// refuseLaundering is the last check of a delivery: a failure if it would pass DMARC although the message is
// not authenticated.
func (p *policy) refuseLaundering(d *Delivery, env *Envelope, msg facts) *cause.Failure {
	dmarc := msg.proven.DMARC
	switch {
	case d.Class == Local || msg.mended || msg.authentic() || env.isOurs(p.trusted):
		return nil
	case msg.nothingToPass():
		return nil
	case p.dmarc.OnOwnDomainForgery == "forward" && p.claimsOurs(env, msg): // the operator's choice
		return nil
	}
	// Few receivers check HELO of mail with a sender: mail of lists under p=none is not to be lost for that.
	isSigned := d.SignAs != "" && msg.couldAlign(d.SignAs)
	forgivesHELO := !isSigned && d.Sender != "" && !msg.mayBeStrict()
	if forgivesHELO && p.onlyHELO(d.Sender, msg) {
		return nil
	}
	answer := p.wouldPass(d.Sender, d.SignAs, env, msg)
	unknown := msg.proven.transit.unknown
	switch {
	case answer == wouldNot:
		return nil
	case forgivesHELO && d.Sender == env.Sender && msg.proven.transit.onlyHELO:
		return nil
	case msg.proven.Temporary() && msg.patient:
		return dnsTrouble(dmarc.Reason)
	case answer == notAsked:
		return wantTransit
	case answer == notKnown && unknown.Kind == cause.Temporary && (msg.patient || msg.proven.transit.ours):
		return unknown
	case answer == notKnown && unknown.Kind == cause.Configuration && !p.isOwn(d.Sender):
		return unknown
	case msg.oversized:
		return cause.HeaderTooLong.Failure(nil)
	case dmarc.Status == authn.TempError && dmarc.Policy == "":
		// While DNS does not answer at all, the message may be a forgery or good mail: keep it.
		return dnsTrouble(dmarc.Reason)
	}
	return cause.WouldPass.Failure(nil, msg.claimedDomains())
}

// claimsOurs tells whether our signature, our SRS sender or our name in HELO could make a message pass DMARC.
func (p *policy) claimsOurs(env *Envelope, msg facts) bool { return p.claims(env, msg.couldAlign) }

func (p *policy) claims(env *Envelope, aligned func(domain string) bool) bool {
	return aligned(p.defaultSigner) || aligned(p.srsDomain) ||
		env.Sender == "" && slices.ContainsFunc(p.heloNames, aligned)
}

// isOwn tells whether a sender is in a domain that should name this host in its SPF record.
func (p *policy) isOwn(sender string) bool {
	name := domain.Of(sender)
	return name == "" || p.local.Has(name) || domain.Aligned(name, p.defaultSigner) ||
		domain.Aligned(name, p.srsDomain)
}

// spfDomains are the domains that a receiver could check by SPF if a message leaves with a sender: its own,
// and the names that this host and its relays give in HELO. All receivers check these for the null sender
// (RFC 7208 section 2.4); Mail::DMARC and SpamAssassin take them for DMARC whenever SPF of the sender does
// not pass. It passes for our SRS domain.
func (p *policy) spfDomains(sender string) []string {
	switch name := domain.Of(sender); name {
	case "":
		return p.heloNames
	case p.srsDomain:
		return []string{name}
	default:
		return append([]string{name}, p.heloNames...)
	}
}

// onlyHELO tells whether, of what spfDomains gives for a sender, only names in HELO could be aligned with
// From:.
func (p *policy) onlyHELO(sender string, msg facts) bool {
	name := domain.Of(sender)
	return name != "" && !msg.oversized && !msg.couldAlign(name)
}

// transitQueries are what to ask SPF about: the sender with each name in HELO, and these names themselves, as
// far as From: could be aligned with them.
func (p *policy) transitQueries(env *Envelope, msg facts) (list []spfQuery) {
	if env.Sender != "" && !p.onlyHELO(env.Sender, msg) {
		for _, name := range p.heloNames {
			list = append(list, spfQuery{name, env.Sender})
		}
	}
	for _, name := range p.heloNames {
		if msg.oversized || msg.couldAlign(name) {
			list = append(list, spfQuery{helo: name})
		}
	}
	return list
}

// forgedOwnDomain is for mail that claims to be from a domain that our signature, our sender or our name
// would vouch for. What would pass merely by being sent on is rejected, see refuseLaundering.
func (p *policy) forgedOwnDomain(d *Delivery, env *Envelope, msg facts) *cause.Failure {
	isStrict := msg.isStrict() && p.claims(env, msg.aligns) // no mail is rejected for what DNS does not tell
	setting := p.dmarc.OnOwnDomainForgery
	if setting == "reject" || setting == "policy" && isStrict {
		return cause.OwnDomainForged.Failure(nil, msg.claimedDomains())
	}
	done, err := p.disownSender(d, env, msg)
	if !done {
		d.because(cause.Unchanged)
	}
	return err
}

// disownSender gives mail that is not authenticated an SRS sender where its own could make it pass DMARC,
// merely by being sent on from here. It does nothing where SRS cannot help: the null sender, one that has no
// SRS form, an SRS domain that is aligned with From:, too. While DNS may still tell whether there is a need,
// the message is deferred.
func (p *policy) disownSender(d *Delivery, env *Envelope, msg facts) (done bool, failure *cause.Failure) {
	if env.Sender == "" || p.srsDomain == "" || msg.oversized || msg.authentic() || env.isOurs(p.trusted) ||
		msg.couldAlign(p.srsDomain) {
		return false, nil
	}
	why := cause.SenderDisowned
	switch p.wouldPass(env.Sender, "", env, msg) {
	case wouldNot:
		return false, nil
	case notAsked:
		return false, wantTransit
	case notKnown:
		if unknown := msg.proven.transit.unknown; unknown.Kind == cause.Temporary && msg.patient {
			return false, unknown
		}
		why = cause.SenderDoubtful
	}
	if p.srsError != nil {
		return false, cause.SecretsUnusable.Failure(p.srsError)
	}
	s := p.senderForm(env.Sender)
	switch {
	case s.address != "":
	case s.why.Cause == cause.SenderNotStored:
		return false, cause.StoreFailed.Failure(p.stored.err) // no mail is rejected for a fault of ours
	default: // even one that Postfix would reject bounces to
		rewritten, err := p.srs.Forward(env.Sender)
		if err != nil {
			d.because(cause.SenderUnusable, err)
			return false, nil
		}
		s.address = rewritten
	}
	d.Sender, d.Alias = s.address, s.alias
	d.because(why, domain.Of(env.Sender))
	if s.alias != (srs.Key{}) {
		d.because(cause.SenderStored)
	}
	return true, nil
}

// claimedDomains names the domains of From: for people: one at least, and more as far as there is room.
func (f facts) claimedDomains() string {
	const room = 40
	names := ""
	for i, author := range f.authors {
		if i > 0 && len(names)+len(author) > room {
			return names + " and others"
		}
		if i > 0 {
			names += ", "
		}
		names += shortName(author)
	}
	return names
}

// shortName keeps a text for a stranger within the length of an SMTP reply: a name may have 253 octets.
func shortName(name string) string {
	const most = 40
	if len(name) > most {
		return "..." + name[len(name)-most:]
	}
	return name
}
