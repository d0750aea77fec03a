package filter

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"postmend/filter/cause"
	"postmend/filter/config"
	"postmend/filter/domain"
	"postmend/filter/message"
	"postmend/srs"
)

// policy is what the configuration decides, ready for use. Nothing in it depends on a message.
type policy struct {
	hostname       string
	heloNames      []string // of this host, and of the relays in outbound_addresses
	local          domain.Set
	trusted        []netip.Prefix
	srs            *srs.Rewriter // nil without [srs]
	srsError       error         // why srs could not be made ready
	srsDomain      string        // canonical; "" without [srs]
	stored         aliases       // see store.go
	sealsArrival   bool          // see config.Arrival
	signers        map[string]bool
	defaultSigner  string // signs forwarded mail; "" if there is no key
	dmarc          config.DMARC
	destinations   []destination
	trustedAuthors []config.TrustedOrigin
	trustedSealers domain.Set
	forceMunge     domain.Set
	forbidMunge    domain.Set
	sealer         string     // the domain of the key for ARC; "" if nothing is sealed
	sparing        bool       // seal only when needed
	sealFor        domain.Set // recipients' domains; nil is all
}

// newPolicy makes the policy of a configuration, but for what depends on secrets and the store.
func newPolicy(settings *config.Config, heloNames []string) (policy, error) {
	p := policy{
		hostname:      settings.Hostname,
		heloNames:     heloNames,
		trusted:       settings.TrustedNetworks,
		signers:       map[string]bool{},
		sealsArrival:  settings.Arrival.Seals(),
		defaultSigner: settings.DKIM.DefaultDomain,
		dmarc:         settings.DMARC,
	}
	for _, key := range settings.DKIM.Keys {
		p.signers[key.Domain] = true
	}
	var errs [7]error
	p.local, errs[0] = settings.LocalSet()
	p.forceMunge, errs[1] = config.DomainSet("dmarc: force_munge", settings.DMARC.ForceMunge,
		settings.DMARC.ForceMungeFile)
	p.forbidMunge, errs[2] = config.DomainSet("dmarc: forbid_munge", settings.DMARC.ForbidMunge, "")
	p.destinations, errs[3] = newDestinations(settings.DMARC.Destinations)
	p.trustedAuthors, errs[4] = config.ParseTrustedAuthors(settings.DMARC.TrustedAuthors)
	p.trustedSealers, errs[5] = config.DomainSet("arc: trusted_sealers", settings.ARC.TrustedSealers, "")
	if settings.ARC.Seal != config.SealNever {
		p.sealer, p.sparing = settings.ARC.Domain, settings.ARC.Seal == config.SealWhenNeeded
	}
	if settings.ARC.OnlyFor != nil {
		p.sealFor, errs[6] = config.DomainSet("arc: only_for", settings.ARC.OnlyFor, "")
	}
	return p, cmp.Or(append(errs[:], config.CheckRedirects(settings.Spam, p.local))...)
}

// needsProof tells whether the plan depends on the authentication of the message. It does only for mail from
// outside that leaves again; and if that goes to an original sender, only if its own sender and From: are in
// one domain. Other mail, most of all bounces, needs no look-up.
func (p *policy) needsProof(env *Envelope, m *message.Message) bool {
	if env.isOurs(p.trusted) {
		return false
	}
	if env.goes(toRemote) || !env.goes(toOriginal) {
		return env.goes(toRemote)
	}
	// Only the tree walk tells which domains that share their last labels are aligned.
	isCommon := func(author string) bool {
		mayAlign := func(name string) bool { return domain.MayAlign(author, name) }
		return slices.ContainsFunc(p.spfDomains(env.Sender), mayAlign)
	}
	return m.Oversized || slices.ContainsFunc(p.authors(env, m), isCommon)
}

// signs tells whether signatures are added for a recipient: for remote ones, but mail to an SRS address goes
// to the original sender unsigned, unless it is a bounce of this host's own.
func (p *policy) signs(env *Envelope) bool {
	return env.goes(toRemote) || env.goes(toOriginal) && env.isOwnBounce(p.trusted)
}

// route finds out where the mail to each recipient goes, once for all that depends on it.
func (p *policy) route(env *Envelope) {
	for i := range env.Recipients {
		r := &env.Recipients[i]
		switch name := domain.Of(r.Address); {
		case p.ownsSRS(r.Address), p.reversedBefore(*r):
			r.route = toOriginal
		case name == "", p.local.Has(name): // Postfix completes an address without domain by its own
			r.route = toLocal
		default:
			r.route = toRemote
		}
	}
}

func (p *policy) classify(env *Envelope, recipient Recipient) Class {
	switch {
	case recipient.route == toOriginal:
		return Reversed
	case recipient.route == toLocal:
		return Local
	case env.Sender == "":
		return Bounce
	case env.isOurs(p.trusted):
		return Outgoing
	}
	return Forwarded
}

// ownsSRS tells whether an address has the form of an SRS address of ours. It works without the secrets, so
// that other mail passes if they are missing.
func (p *policy) ownsSRS(address string) bool {
	return p.srsDomain != "" && domain.Of(address) == p.srsDomain && srs.IsRewritten(address)
}

// reversedBefore tells whether a recipient was an SRS address of ours until a lookup table
// (recipient_canonical_maps) took it back.
func (p *policy) reversedBefore(r Recipient) bool {
	before := cmp.Or(r.Original, r.Claimed)
	if p.srs == nil || !p.ownsSRS(before) {
		return false
	}
	original, err := p.srs.ReverseStored(before, p.stored.find)
	return err == nil && strings.EqualFold(original, r.Address)
}

// reverse verifies an SRS address of ours and gives the original sender.
func (p *policy) reverse(address string) (string, *cause.Failure) {
	if p.srsError != nil {
		return "", cause.SecretsUnusable.Failure(p.srsError)
	}
	original, err := p.srs.ReverseStored(address, p.stored.find)
	if err == nil {
		return original, nil
	}
	why := cause.SRSMalformed
	switch {
	case errors.Is(err, errStore):
		why = cause.StoreFailed
	case errors.Is(err, srs.ErrUnknown):
		why = cause.SRSUnknown
	case errors.Is(err, srs.ErrForged):
		why = cause.SRSForged
	case errors.Is(err, srs.ErrExpired):
		why = cause.SRSExpired
	}
	return "", why.Failure(err)
}

// authorSigner is the domain with a key of ours for mail of our own side: the From: domain or the nearest
// domain above it, which is aligned in relaxed mode. With authors in several domains there is none.
func (p *policy) authorSigner(authors []string) string {
	if len(authors) != 1 {
		return ""
	}
	for name := authors[0]; name != ""; _, name, _ = strings.Cut(name, ".") {
		if p.signers[name] && domain.Aligned(name, authors[0]) {
			return name
		}
	}
	return ""
}
