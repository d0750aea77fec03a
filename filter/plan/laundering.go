package plan

import (
	"slices"
	"strings"

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
func (p *Policy) wouldPass(sender, signer string, env *Envelope, msg Facts) passing {
	switch transit := msg.Proven.Transit.Status; {
	case signer != "" && (msg.Oversized || msg.couldAlign(signer)):
		return would
	case !msg.Oversized && !slices.ContainsFunc(p.spfDomains(sender), msg.couldAlign):
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
func (f Facts) nothingToPass() bool {
	return f.Proven.DMARC.Status == authn.None && !f.Proven.DMARC.Odd && !f.Oversized
}

// mayBeStrict tells whether a domain of From: asks receivers to act, or could. A sender can choose one that
// hides its policy: of more domains than are looked up, one that cannot be looked up, or one below ours whose
// name servers are dead, for which receivers may take the policy of the domain above.
func (f Facts) mayBeStrict() bool {
	n := len(f.Authors)
	return f.isStrict() || f.Proven.DMARC.MayApply.IsStrict() || f.Oversized || n > authn.MaxAuthors ||
		n == 1 && f.Proven.DMARC.Status == authn.PermError
}

// passedIfRead tells whether receivers who apply an odd DMARC record have let the message pass on arrival, if
// they would for the same sender now: SPF passed for it, or a signature of the author's own domain.
func (f Facts) passedIfRead(env *Envelope) bool {
	isAuthors := func(v dkim.Verification) bool {
		return v.Status == dkim.Pass && slices.Equal(f.Authors, []string{domain.Canonical(v.Domain)})
	}
	return f.Proven.DMARC.Status == authn.None && f.Proven.DMARC.Odd &&
		(f.Proven.SPF.Status == authn.Pass && f.couldAlign(domain.Of(env.Sender)) ||
			slices.ContainsFunc(f.Proven.DKIM, isAuthors))
}

// refuseLaundering is the last check of a delivery: a failure if it would pass DMARC although the message is
// not authenticated.
func (p *Policy) refuseLaundering(d *Delivery, env *Envelope, msg Facts) *cause.Failure {
	dmarc := msg.Proven.DMARC
	switch {
	case d.Class == Local || msg.Mended || msg.Authentic() || p.IsOurs(env):
		return nil
	case msg.nothingToPass():
		return nil
	case p.dmarc.OnOwnDomainForgery == "forward" && p.claimsOurs(env, msg): // the operator's choice
		return nil
	}
	// Few receivers check HELO of mail with a sender that they can read: mail of lists under p=none is not to
	// be lost for that.
	isSigned := d.SignAs != "" && msg.couldAlign(d.SignAs)
	forgivesHELO := !isSigned && isReadable(d.Sender) && !msg.mayBeStrict()
	if forgivesHELO && p.onlyHELO(d.Sender, msg) {
		return nil
	}
	answer := p.wouldPass(d.Sender, d.SignAs, env, msg)
	unknown := msg.Proven.Transit.Unknown
	switch {
	case answer == wouldNot:
		return nil
	case forgivesHELO && d.Sender == env.Sender && msg.Proven.Transit.OnlyHELO:
		return nil
	case msg.Proven.Temporary() && msg.Patient:
		return cause.DNSTrouble(dmarc.Reason)
	case answer == notAsked:
		return WantTransit
	case answer == notKnown && unknown.Kind == cause.Temporary && (msg.Patient || msg.Proven.Transit.Ours):
		return unknown
	case answer == notKnown && unknown.Kind == cause.Configuration && !p.isOwn(d.Sender):
		return unknown
	case msg.Oversized:
		return cause.HeaderTooLong.Failure(nil)
	case dmarc.Status == authn.TempError && dmarc.Policy == "":
		// While DNS does not answer at all, the message may be a forgery or good mail: keep it.
		return cause.DNSTrouble(dmarc.Reason)
	}
	return cause.WouldPass.Failure(nil, msg.claimedDomains())
}

// claimsOurs tells whether our signature, our SRS sender or our name in HELO could make a message pass DMARC.
func (p *Policy) claimsOurs(env *Envelope, msg Facts) bool { return p.claims(env, msg.couldAlign) }

func (p *Policy) claims(env *Envelope, aligned func(domain string) bool) bool {
	return aligned(p.defaultSigner) || aligned(p.srsDomain) ||
		env.Sender == "" && slices.ContainsFunc(p.heloNames, aligned)
}

// isOwn tells whether a sender is in a domain that should name this host in its SPF record.
func (p *Policy) isOwn(sender string) bool {
	name := domain.Of(sender)
	return name == "" || p.local.Has(name) || domain.Aligned(name, p.defaultSigner) ||
		domain.Aligned(name, p.srsDomain)
}

// spfDomains are the domains that a receiver could check by SPF if a message leaves with a sender: its own,
// and the names that this host and its relays give in HELO. All receivers check these for the null sender
// (RFC 7208 section 2.4), and rspamd for one that it cannot read; Mail::DMARC and SpamAssassin take them for
// DMARC whenever SPF of the sender does not pass. It passes for our SRS domain.
func (p *Policy) spfDomains(sender string) []string {
	switch name := domain.Of(sender); {
	case name == "":
		return p.heloNames
	case name == p.srsDomain && isReadable(sender):
		return []string{name}
	default:
		return append([]string{name}, p.heloNames...)
	}
}

// isReadable tells whether all receivers can read a sender. rspamd reads none that is not ASCII, or whose
// domain has a label that does not begin and end with a letter or digit.
func isReadable(sender string) bool {
	const alphanumeric = "abcdefghijklmnopqrstuvwxyz0123456789"
	isEdge := func(label string, i int) bool { return strings.IndexByte(alphanumeric, label[i]) >= 0 }
	for label := range strings.SplitSeq(domain.Of(sender), ".") {
		if label == "" || !isEdge(label, 0) || !isEdge(label, len(label)-1) ||
			strings.Trim(label, alphanumeric+"-_") != "" {
			return false
		}
	}
	return isASCII(sender)
}

// onlyHELO tells whether, of what spfDomains gives for a sender, only names in HELO could be aligned with
// From:.
func (p *Policy) onlyHELO(sender string, msg Facts) bool {
	name := domain.Of(sender)
	return name != "" && !msg.Oversized && !msg.couldAlign(name)
}

// TransitQueries are what to ask SPF about: the sender with each name in HELO, and these names themselves, as
// far as From: could be aligned with them.
func (p *Policy) TransitQueries(env *Envelope, msg Facts) (list []SPFQuery) {
	if env.Sender != "" && !p.onlyHELO(env.Sender, msg) {
		for _, name := range p.heloNames {
			list = append(list, SPFQuery{name, env.Sender})
		}
	}
	for _, name := range p.heloNames {
		if msg.Oversized || msg.couldAlign(name) {
			list = append(list, SPFQuery{HELO: name})
		}
	}
	return list
}

// forgedOwnDomain is for mail that claims to be from a domain that our signature, our sender or our name
// would vouch for. What would pass merely by being sent on is rejected, see refuseLaundering.
func (p *Policy) forgedOwnDomain(d *Delivery, env *Envelope, msg Facts) *cause.Failure {
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
func (p *Policy) disownSender(d *Delivery, env *Envelope, msg Facts) (done bool, failure *cause.Failure) {
	if env.Sender == "" || p.srsDomain == "" || msg.Oversized || msg.Authentic() || p.IsOurs(env) ||
		msg.couldAlign(p.srsDomain) {
		return false, nil
	}
	why := cause.SenderDisowned
	switch p.wouldPass(env.Sender, "", env, msg) {
	case wouldNot:
		return false, nil
	case notAsked:
		return false, WantTransit
	case notKnown:
		if unknown := msg.Proven.Transit.Unknown; unknown.Kind == cause.Temporary && msg.Patient {
			return false, unknown
		}
		why = cause.SenderDoubtful
	}
	if p.srsError != nil {
		return false, cause.SecretsUnusable.Failure(p.srsError)
	}
	s := p.SRSForm(env.Sender)
	switch {
	case s.Address != "":
	case s.Why.Cause == cause.SenderNotStored:
		return false, cause.StoreFailed.Failure(p.stored.err) // no mail is rejected for a fault of ours
	default: // even one that Postfix would reject bounces to
		rewritten, err := p.srs.Forward(env.Sender)
		if err != nil {
			d.because(cause.SenderUnusable, err)
			return false, nil
		}
		s.Address = rewritten
	}
	d.Sender, d.Alias = s.Address, s.Alias
	d.because(why, domain.Of(env.Sender))
	if s.Alias != (srs.Key{}) {
		d.because(cause.SenderStored)
	}
	return true, nil
}

// claimedDomains names the domains of From: for people: one at least, and more as far as there is room.
func (f Facts) claimedDomains() string {
	const room = 40
	names := ""
	for i, author := range f.Authors {
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
