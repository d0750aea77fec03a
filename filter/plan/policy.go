package plan

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"postmend/filter/cause"
	"postmend/filter/config"
	"postmend/filter/domain"
	"postmend/filter/message"
	"postmend/srs"
)

// Policy is what the configuration decides, ready for use. Nothing in it depends on a message.
type Policy struct {
	hostname       string
	heloNames      []string // of this host, and of the relays in outbound_addresses
	local          domain.Set
	trusted        []netip.Prefix
	srs            *srs.Rewriter // nil without [srs]
	srsError       error         // why srs could not be made ready
	srsDomain      string        // canonical; "" without [srs]
	stored         aliases       // see aliases.go
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

// NewPolicy makes the policy of a configuration, but for what depends on secrets and the store.
func NewPolicy(settings *config.Config, heloNames []string) (Policy, error) {
	p := Policy{
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

// NeedsProof tells whether the plan depends on the authentication of the message. It does only for mail from
// outside that leaves again; and if that goes to an original sender, only if its own sender and From: are in
// one domain. Other mail, most of all bounces, needs no look-up.
func (p *Policy) NeedsProof(env *Envelope, m *message.Message) bool {
	if p.IsOurs(env) {
		return false
	}
	if env.Goes(toRemote) || !env.Goes(toOriginal) {
		return env.Goes(toRemote)
	}
	// Only the tree walk tells which domains that share their last labels are aligned.
	isCommon := func(author string) bool {
		mayAlign := func(name string) bool { return domain.MayAlign(author, name) }
		return slices.ContainsFunc(p.spfDomains(env.Sender), mayAlign)
	}
	return m.Oversized || slices.ContainsFunc(p.Authors(env, m), isCommon)
}

// Signs tells whether signatures are added for a recipient: for remote ones, but mail to an SRS address goes
// to the original sender unsigned, unless it is a bounce of this host's own.
func (p *Policy) Signs(env *Envelope) bool {
	return env.Goes(toRemote) || env.Goes(toOriginal) && p.isOwnBounce(env)
}

// Route finds out where the mail to each recipient goes, once for all that depends on it.
func (p *Policy) Route(env *Envelope) {
	for i := range env.Recipients {
		r := &env.Recipients[i]
		switch name := domain.Of(r.Address); {
		case p.OwnsSRS(r.Address), p.reversedBefore(*r):
			r.route = toOriginal
		case name == "", p.local.Has(name): // Postfix completes an address without domain by its own
			r.route = ToLocal
		default:
			r.route = toRemote
		}
	}
}

func (p *Policy) classify(env *Envelope, recipient Recipient) Class {
	switch {
	case recipient.route == toOriginal:
		return Reversed
	case recipient.route == ToLocal:
		return Local
	case env.Sender == "":
		return Bounce
	case p.IsOurs(env):
		return Outgoing
	}
	return Forwarded
}

// IsLocal tells whether mail to a domain is delivered here.
func (p *Policy) IsLocal(name string) bool { return p.local.Has(name) }

// AddLocal adds domains that are delivered here. Copies of the policy do not have them.
func (p *Policy) AddLocal(names []string) {
	p.local = maps.Clone(p.local)
	for _, name := range names {
		p.local[domain.Canonical(name)] = true
	}
}

// SignsFor tells whether a domain that we sign for is aligned with one of From:.
func (p *Policy) SignsFor(author string) bool {
	for signer := range p.signers {
		if domain.Aligned(signer, author) {
			return true
		}
	}
	return false
}

// SealsARC tells whether mail gets ARC sets of ours.
func (p *Policy) SealsARC() bool { return p.sealer != "" }

// TrustsSealers tells whether the results of somebody else's ARC sets may count.
func (p *Policy) TrustsSealers() bool { return len(p.trustedSealers) > 0 }

// UseSRS makes the policy rewrite senders into a domain; err says why the rewriter could not be made.
func (p *Policy) UseSRS(domain string, rewriter *srs.Rewriter, err error) {
	p.srsDomain, p.srs, p.srsError = domain, rewriter, err
}

// CheckSRS is the failure of whoever asks for an SRS address, or what is behind one, where there is no SRS.
func (p *Policy) CheckSRS() *cause.Failure {
	switch {
	case p.srsDomain == "":
		return cause.SenderWithoutSRS.Failure(nil)
	case p.srsError != nil:
		return cause.SecretsUnusable.Failure(p.srsError)
	}
	return nil
}

// OwnsSRS tells whether an address has the form of an SRS address of ours. It works without the secrets, so
// that other mail passes if they are missing.
func (p *Policy) OwnsSRS(address string) bool {
	return p.srsDomain != "" && domain.Of(address) == p.srsDomain && srs.IsRewritten(address)
}

// reversedBefore tells whether a recipient was an SRS address of ours until a lookup table
// (recipient_canonical_maps) took it back.
func (p *Policy) reversedBefore(r Recipient) bool {
	before := cmp.Or(r.Original, r.Claimed)
	if p.srs == nil || !p.OwnsSRS(before) {
		return false
	}
	original, err := p.srs.ReverseStored(before, p.stored.find)
	return err == nil && strings.EqualFold(original, r.Address)
}

// Reverse verifies an SRS address of ours and gives the original sender. Of any other address, the error of
// the failure says why it is none.
func (p *Policy) Reverse(address string) (string, *cause.Failure) {
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

// AuthorSigner is the domain with a key of ours for mail of our own side: the From: domain or the nearest
// domain above it, which is aligned in relaxed mode. With authors in several domains there is none.
func (p *Policy) AuthorSigner(authors []string) string {
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

// Undecided gives the domains of an envelope that are not known to be local: the recipients', and, because a
// sender in a local domain stays, the sender's if there is a recipient elsewhere.
func (p *Policy) Undecided(env *Envelope) []string {
	seen := map[string]bool{}
	add := func(address string) {
		name := domain.Of(address)
		if _, err := domain.Parse(name); err == nil && !p.local.Has(name) {
			seen[name] = true
		}
	}
	for _, r := range env.Recipients {
		add(r.Address)
	}
	if len(seen) > 0 {
		add(env.Sender)
	}
	domains := make([]string, 0, len(seen))
	for domain := range seen {
		domains = append(domains, domain)
	}
	return domains
}
