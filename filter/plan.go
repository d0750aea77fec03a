package filter

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"postmend/filter/authn"
	"postmend/filter/domain"
	"postmend/filter/message"
	"postmend/srs"
)

// Class is the kind of a recipient; see the table in docs/flow.md.
type Class string

// The classes, in the order in which a plan lists them.
const (
	// Reversed: a valid SRS address of ours, turned back into the original sender's.
	Reversed Class = "reversed"
	// Local: delivered here; handed back unchanged.
	Local Class = "local"
	// Outgoing: mail of our own side to a remote recipient.
	Outgoing Class = "outgoing"
	// Bounce: the null sender, to a remote recipient.
	Bounce Class = "bounce"
	// Forwarded: mail from outside that goes on to a remote recipient.
	Forwarded Class = "forwarded"
)

var classes = [...]Class{Reversed, Local, Outgoing, Bounce, Forwarded}

// Plan is what will be done with a message, and why.
type Plan struct {
	// Deliveries are the hand-overs, at most one for each kind of recipients. None if there is a Refusal.
	Deliveries []Delivery `json:"deliveries"`
	// Discarded are deliveries that the configuration discards.
	Discarded []Delivery `json:"discarded,omitempty"`
	// Refusal ends the run without any hand-over.
	Refusal *Failure `json:"-"`
}

// Delivery is one hand-over: the recipients of one class.
type Delivery struct {
	Class  Class  `json:"class"`
	Sender string `json:"sender"` // the reverse-path it leaves with
	// Alias is the key that the envelope sender has to be stored under before the hand-over, because Sender
	// is an alias; the zero value if it is none.
	Alias      srs.Key     `json:"-"`
	Recipients []Recipient `json:"recipients"`
	// SignAs is the domain whose DKIM keys sign, "" if none does.
	SignAs string `json:"sign_as,omitempty"`
	// From is the new address in From:, "" if that field stays.
	From string `json:"from,omitempty"`
	// Stamp is set if Authentication-Results is added; Purge if those that only claim to be ours are removed
	// (RFC 8601 section 5).
	Stamp bool `json:"stamp,omitempty"`
	Purge bool `json:"purge,omitempty"`
	// Trace is set if X-Forwarded-To and X-Forwarded-For are added.
	Trace bool `json:"trace,omitempty"`
	// Seal is set if an ARC set is added.
	Seal bool `json:"seal,omitempty"`
	// Arrival is what happens to the seal of arrival.
	Arrival ArrivalSeal `json:"arrival,omitempty"`
	// Fold is set if long lines are folded before we sign: smtp(8) would fold them later, which breaks
	// signatures.
	Fold bool `json:"fold,omitempty"`
	// Forecast is nil for what stays on this side.
	Forecast *Forecast `json:"forecast,omitempty"`
	// Reasons are for people, in the order of the decisions.
	Reasons []Reason `json:"reasons,omitempty"`

	discarded bool // the configuration discards it
}

func (d *Delivery) because(cause Cause, about ...any) {
	d.Reasons = append(d.Reasons, cause.about(about...))
}

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
	sealsArrival   bool          // see ArrivalConfig
	signers        map[string]bool
	defaultSigner  string // signs forwarded mail; "" if there is no key
	dmarc          DMARCConfig
	destinations   []destination
	trustedAuthors []trustedAuthor
	trustedSealers domain.Set
	forceMunge     domain.Set
	forbidMunge    domain.Set
	sealer         string     // the domain of the key for ARC; "" if nothing is sealed
	sparing        bool       // seal only when needed
	sealFor        domain.Set // recipients' domains; nil is all
}

// facts are what the plan needs to know about the message.
type facts struct {
	// authors are the canonical domains of the From: field.
	authors []string
	// oversized is set if the header was too long to be read.
	oversized bool
	// spam is the rule that the message matches; nil if none.
	spam *SpamConfig
	// testimony is what the sealers of a chain say.
	testimony testimony
	// localAuthor is set if a table calls From: local, as far as that was asked.
	localAuthor bool
	// proven is the authentication of the message on arrival; its zero value proves nothing.
	proven proof
	// patient is set while DNS trouble may still keep the message in the queue.
	patient bool
	// longestLine is in octets.
	longestLine int
	// occurrences counts the fields of the names that we may add, and of those that cleanup(8) drops.
	occurrences map[string]int
	// claimed counts the Authentication-Results that only claim to be ours.
	claimed int
	// redirected is the mailbox here by which Sieve sent the message on; "" if that is not known.
	redirected string
	// recalled is what the milter found; nil if nothing that is believed.
	recalled *recalled
	// mended is set if we have mended the message before.
	mended bool
	// unsignable says why no signature over the message would be valid. It is nil if one would be, or if none
	// is wanted.
	unsignable error
	// sealing is about the key for ARC, if mail may be sealed.
	sealing sealingKey
	// origin is where mail of our own side came from; nil for other mail.
	origin *origin
	// unsealable says why mail that is delivered here gets no seal of its arrival; nil if it does.
	unsealable error
}

// couldAlign tells whether a receiver could find a domain aligned with From:, in relaxed mode, which the
// strict one implies. Receivers find organisational domains by the public suffix list or by the tree walk
// (RFC 9989 section 4.10.2): either is enough. Missing DNS answers, or more authors than are looked up, count
// as aligned, too.
func (f facts) couldAlign(name string) bool {
	mayAlign := func(author string) bool { return domain.MayAlign(author, name) }
	return f.aligns(name) || f.proven.DMARC.CouldAlign(name) ||
		name != "" && len(f.authors) > authn.MaxAuthors && slices.ContainsFunc(f.authors, mayAlign)
}

// aligns is couldAlign without what is unknown.
func (f facts) aligns(name string) bool {
	return alignedWithAny(name, f.authors) || f.proven.DMARC.Aligns(name)
}

// isStrict tells whether the domain of From: asks receivers to act on mail that fails DMARC.
func (f facts) isStrict() bool { return f.proven.DMARC.Policy.IsStrict() }

// authentic tells whether From: is authenticated.
func (f facts) authentic() bool { return f.proven.DMARC.Status == authn.Pass }

// plan decides. It touches nothing outside its arguments (the clock is in the SRS rewriter).
func (p *policy) plan(env *Envelope, msg facts) Plan {
	groups := map[kind]*Delivery{}
	var kinds []kind
	group := func(recipient Recipient) *Delivery {
		k := p.kindOf(env, msg, recipient)
		if groups[k] == nil {
			groups[k] = &Delivery{Class: k.class, Sender: env.Sender}
			kinds = append(kinds, k)
		}
		return groups[k]
	}

	var refusal *Failure
	for _, recipient := range env.Recipients {
		delivery := group(recipient)
		if p.ownsSRS(recipient.Address) {
			original, err := p.reverse(recipient.Address)
			if err != nil && !err.Temporary() && len(env.Recipients) > 1 {
				// One exit status counts for all recipients. Handed back unchanged, this one is rejected by
				// Postfix, which knows no such user in the SRS domain; the others are not affected.
				delivery.because(SRSLeftToPostfix, recipient.Address, err.because())
			} else if err != nil {
				refusal = err
			} else {
				delivery.because(SRSValid, recipient.Address)
				recipient.Address = original
			}
		} else if delivery.Class == Reversed {
			delivery.because(SRSTakenBack, cmp.Or(recipient.Original, recipient.Claimed))
		}
		delivery.Recipients = append(delivery.Recipients, recipient)
	}
	if refusal != nil {
		return Plan{Refusal: refusal}
	}

	var plan Plan
	sortByClass(kinds, func(k kind) Class { return k.class })
	for _, kind := range kinds {
		delivery := groups[kind]
		err := p.mend(delivery, env, msg)
		delivery.settleSignatures(msg, env.isOurs(p.trusted))
		p.settleArrival(delivery, env, msg)
		switch {
		case err != nil && (err.Temporary() || len(groups) == 1):
			return Plan{Refusal: err}
		case err != nil:
			// One exit status counts for all recipients, and the others must get the message.
			delivery.because(ForOthers, err.because())
		case delivery.discarded:
			plan.Discarded = append(plan.Discarded, *delivery)
			continue
		}
		if err := p.refuseLaundering(delivery, env, msg); err != nil {
			return Plan{Refusal: err}
		}
		if delivery.Class != Local && delivery.Class != Reversed {
			delivery.Forecast = p.forecast(delivery, msg, env.isOurs(p.trusted))
		}
		plan.Deliveries = append(plan.Deliveries, *delivery)
	}
	return plan
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
func (p *policy) reverse(address string) (string, *Failure) {
	if p.srsError != nil {
		return "", SecretsUnusable.Failure(p.srsError)
	}
	original, err := p.srs.ReverseStored(address, p.stored.find)
	if err == nil {
		return original, nil
	}
	cause := SRSMalformed
	switch {
	case errors.Is(err, errStore):
		cause = StoreFailed
	case errors.Is(err, srs.ErrUnknown):
		cause = SRSUnknown
	case errors.Is(err, srs.ErrForged):
		cause = SRSForged
	case errors.Is(err, srs.ErrExpired):
		cause = SRSExpired
	}
	return "", cause.Failure(err)
}

// mend decides what changes in a delivery: sender, From:, signature, other fields.
func (p *policy) mend(d *Delivery, env *Envelope, msg facts) *Failure {
	switch {
	case d.Class == Reversed && (msg.mended || !env.isOwnBounce(p.trusted)):
		_, err := p.disownSender(d, env, msg)
		return err
	case d.Class == Local:
		d.because(StaysHere)
		return nil
	case msg.mended:
		d.because(Requeued)
		return nil
	case !env.isOurs(p.trusted):
		return p.mendForeign(d, env, msg)
	}
	d.becauseOrigin(env.origin)
	d.SignAs = p.authorSigner(msg.authors)
	if d.SignAs == "" && env.Sender == "" {
		d.SignAs = p.defaultSigner
	}
	return p.rewriteSender(d, env)
}

// settleSignatures drops signatures that would not be valid, and plans to fold long lines where no other
// signature than ours has to survive.
func (d *Delivery) settleSignatures(msg facts, isOurs bool) {
	if err := msg.unsignable; err != nil && d.SignAs != "" {
		d.SignAs, d.Seal = "", false
		d.because(UnsignedInvalid, err)
	} else if err != nil && d.Seal {
		d.Seal = false
		d.because(UnsealedInvalid, err)
	}
	if d.SignAs != "" && (isOurs || d.From != "") && msg.longestLine > message.MaxLine {
		d.Fold = true
		d.because(Folded, msg.longestLine)
	}
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
