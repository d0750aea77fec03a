package plan

import (
	"slices"

	"postmend/dkim"
	"postmend/filter/authn"
	"postmend/filter/cause"
	"postmend/filter/config"
	"postmend/filter/domain"
	"postmend/filter/message/author"
)

// settleAuthor decides whether From: is rewritten, and if so, which domain signs. Whatever else is done
// with a message that is not authentic, its From: must not leave as it is with anything of ours that makes
// it pass.
func (p *Policy) settleAuthor(d *Delivery, env *Envelope, msg Facts) *cause.Failure {
	switch {
	case msg.Authentic():
		d.SignAs = p.AuthorSigner(msg.Authors)
		p.mungeFrom(d, msg)
	case p.mungeMode(d) == config.MungeAlways && msg.nothingToPass():
		return p.mungeWithoutRecord(d, msg)
	case msg.isStrict() || p.mungeMode(d) == config.MungeAlways:
		return p.mungeVouched(d, env, msg)
	}
	return nil
}

// mungeMode is the munge_from of a delivery. Its recipients have the same one.
func (p *Policy) mungeMode(d *Delivery) config.MungeMode { return p.mungeModeFor(d.Recipients[0]) }

func (p *Policy) mungeModeFor(r Recipient) config.MungeMode {
	for _, to := range p.destinations {
		if to.domains.Has(domain.Of(r.Address)) {
			return to.mungeFrom
		}
	}
	return p.dmarc.MungeFrom
}

// MayRewriteUnproved tells whether the configuration lets From: be rewritten in mail that did not pass DMARC.
func (p *Policy) MayRewriteUnproved() bool {
	isAlways := func(to destination) bool { return to.mungeFrom == config.MungeAlways }
	return p.dmarc.MungeFrom == config.MungeAlways || slices.ContainsFunc(p.destinations, isAlways) ||
		len(p.trustedAuthors) > 0 || len(p.trustedSealers) > 0
}

// destination is a config.Destination, ready for use.
type destination struct {
	domains   domain.Set // one entry
	mungeFrom config.MungeMode
}

func newDestinations(configured []config.Destination) (list []destination, err error) {
	for _, c := range configured {
		to := destination{domain.Set{}, c.MungeFrom}
		if err := to.domains.Add(c.Domain); err != nil {
			return nil, err
		}
		list = append(list, to)
	}
	return list, nil
}

// mungeFrom decides whether From: is rewritten. Only for mail that passed DMARC: the new address is ours, and
// passes DMARC at every receiver.
func (p *Policy) mungeFrom(d *Delivery, msg Facts) {
	author := msg.Authors[0]
	force := p.forceMunge.Has(author) || p.mungeMode(d) == config.MungeAlways
	switch {
	case p.forbidMunge.Has(author):
		d.because(cause.FromForbidden, author)
		return
	case force:
		d.because(cause.FromForced)
	case p.mungeMode(d) == config.MungeNever:
		d.because(cause.FromNever)
		return
	case !msg.Proven.DMARC.Applied().IsStrict():
		d.because(cause.FromPolicyNone, author)
		return
	case d.SignAs == author:
		d.because(cause.FromOwnKey, author)
		return
	default:
		survivor, why := p.survivor(msg)
		if survivor != "" {
			d.because(cause.FromSurvivor, survivor)
			return
		}
		d.because(cause.FromRewritten, why, author, msg.Proven.DMARC.Applied())
	}
	p.giveNewAuthor(d, msg)
}

// giveNewAuthor plans for a From: of ours, if there is an address for it.
func (p *Policy) giveNewAuthor(d *Delivery, msg Facts) {
	d.From, d.SignAs = p.newAuthor(d, msg)
	if d.From == "" {
		d.because(cause.FromNoAddress)
	}
}

// newAuthor gives the address for a rewritten From:, and the domain that signs for it: the configured one,
// else the alias, else the default domain's postmaster. An address does not qualify without an aligned key of
// ours, or if a receiver could read it as another address.
func (p *Policy) newAuthor(d *Delivery, msg Facts) (address, signer string) {
	alias := msg.Alias(d.Recipients[0])
	isOriginal := msg.Origin.recipient() == "" && msg.Redirected == ""
	isOther := func(r Recipient) bool { return r.Original != alias }
	if isOriginal && slices.ContainsFunc(d.Recipients, isOther) {
		alias = "" // one recipient must not learn of the other's alias
	}
	candidates := []string{p.dmarc.FromAddress, alias}
	if p.defaultSigner != "" {
		candidates = append(candidates, "postmaster@"+p.defaultSigner)
	}
	for _, candidate := range candidates {
		if _, domain, err := author.Spec(candidate); err == nil {
			if signer := p.AuthorSigner([]string{domain}); signer != "" {
				return candidate, signer
			}
		} else if candidate != "" {
			d.because(cause.FromCandidate, candidate, err)
		}
	}
	return "", ""
}

// mungeWithoutRecord rewrites From: although no DMARC record says what would be authentic, because the
// operator wants it for all mail: his relay takes only senders of his own. What fails a check may be a
// forgery, and is not presented in our name.
func (p *Policy) mungeWithoutRecord(d *Delivery, msg Facts) *cause.Failure {
	if len(msg.Authors) != 1 || domain.Name(msg.Authors[0]) == "" {
		return nil
	}
	author := msg.Authors[0]
	obstacle, isTemporary := p.doubtWithoutRecord(author, msg)
	switch {
	case p.forbidMunge.Has(author):
		d.because(cause.FromForbidden, author)
	case isTemporary && msg.Patient:
		return cause.DNSTrouble(obstacle)
	case obstacle != "":
		d.because(cause.FromDoubtful, author, obstacle)
	case msg.hasAlignedPass():
		d.because(cause.FromWithoutRecord, author)
		p.giveNewAuthor(d, msg)
	default: // ours and strict domains never get here
		d.because(cause.FromWithoutProof, author)
		p.giveNewAuthor(d, msg)
	}
	return nil
}

// mungeVouched rewrites From: of mail that failed DMARC, if somebody vouches for its author.
func (p *Policy) mungeVouched(d *Delivery, env *Envelope, msg Facts) *cause.Failure {
	v := p.vouch(env, msg)
	if v.why.Cause == 0 {
		if v.trouble != "" && msg.Patient {
			return cause.DNSTrouble(v.trouble)
		}
		if v.doubt.Cause != 0 {
			d.Reasons = append(d.Reasons, v.doubt)
		}
		return nil
	}
	author := msg.Authors[0]
	switch {
	case p.forbidMunge.Has(author):
		d.because(cause.FromForbidden, author)
	case p.mungeMode(d) == config.MungeNever && !p.forceMunge.Has(author):
		d.because(cause.FromNever)
	default:
		d.Reasons = append(d.Reasons, v.why)
		p.giveNewAuthor(d, msg)
	}
	return nil
}

// doubtWithoutRecord says what speaks against the author of a message if no DMARC record does; "" is nothing.
// An identifier that passed and is aligned outweighs others.
func (p *Policy) doubtWithoutRecord(author string, msg Facts) (obstacle string, isTemporary bool) {
	if msg.hasAlignedPass() {
		return "", false
	}
	if p.mayBeOurs(author, msg) {
		return "the domain is of this server", false
	}
	for _, v := range msg.Proven.signatures() {
		if v.Status != dkim.Pass && msg.couldAlign(domain.Canonical(v.Domain)) {
			obstacle, isTemporary = "DKIM is "+string(v.Status), isTemporary || v.Status == dkim.TempError
		}
	}
	switch spf := msg.Proven.SPF; spf.Status {
	case "", authn.None, authn.Neutral, authn.Pass:
	default:
		obstacle, isTemporary = "SPF is "+string(spf.Status), isTemporary || spf.Status == authn.TempError
	}
	return obstacle, isTemporary
}

// hasAlignedPass tells whether SPF or a signature passed for the author's domain, whether it has a DMARC
// record or not.
func (f Facts) hasAlignedPass() bool {
	spf := f.Proven.SPF
	return spf.Status == authn.Pass && f.aligns(domain.Name(spf.Domain)) ||
		slices.ContainsFunc(f.authorSignatures(), func(v dkim.Verification) bool {
			return f.aligns(domain.Canonical(v.Domain))
		})
}

// mayBeOurs tells whether an author's domain is of this side, or could be aligned with one that is.
func (p *Policy) mayBeOurs(author string, msg Facts) bool {
	if msg.LocalAuthor || p.IsOwnSide(author) || msg.couldAlign(p.srsDomain) || msg.couldAlign(p.hostname) {
		return true
	}
	for signer := range p.signers {
		if msg.couldAlign(signer) {
			return true
		}
	}
	return false
}
