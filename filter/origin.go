package filter

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postmend/dkim"
	"postmend/filter/arrival"
	"postmend/filter/cause"
	"postmend/filter/domain"
	"postmend/filter/message"
	"postmend/srs"
)

// Mail of our own side is not always written here: Sieve, procmail and lists send on mail from outside. The
// seal of its arrival tells that, and the client. A seal proves origin, never authority: it can take the
// rights of our own side away, but gives no rights that the message did not arrive with.

// origin is where a message of our own side came from, as far as this host can know.
type origin struct {
	// seal is nil without one that holds.
	seal *arrival.Sealed
	// intact is set if the message is still what was sealed, in time.
	intact bool
	// renewable is set if the message is still what was sealed, in time or not.
	renewable bool
	// doubt says why the message counts as unauthenticated mail from outside; "" if there is no doubt.
	doubt cause.Reason
	// outside is set if the message is treated as mail from outside.
	outside bool
}

// Origin is an origin for explain --json.
type Origin struct {
	Sealed    bool   `json:"sealed"`    // by a seal that holds; else nothing of the origin is known
	Client    string `json:"client"`    // address; "" is not known
	Sender    string `json:"sender"`    // reverse-path on arrival; "" is the null sender, or not known
	Recipient string `json:"recipient"` // it was delivered to; "" if there were several
	Intact    bool   `json:"intact"`    // since then, and in time: SPF is checked for client and sender
}

// public gives what of an origin is shown. A nil origin is of mail that has none but its client.
func (o *origin) public() Origin {
	if o == nil || o.seal == nil {
		return Origin{}
	}
	shown := Origin{Sealed: true, Recipient: o.seal.Recipient, Intact: o.intact}
	if o.seal.Client.IsValid() {
		shown.Client = o.seal.Client.String()
	}
	if o.seal.Sender != nil {
		shown.Sender = *o.seal.Sender
	}
	return shown
}

// becauseOrigin tells a person where the message came from.
func (d *Delivery) becauseOrigin(o *origin) {
	switch {
	case o == nil:
	case o.doubt.Text != "":
		d.Reasons = append(d.Reasons, o.doubt)
	case o.intact:
		d.because(cause.OriginSealed, cmp.Or(o.public().Client, "of unknown address"))
	}
}

// alias is the address here from which a message goes on to a recipient; "" if that is not known.
func (f facts) alias(r Recipient) string {
	return cmp.Or(f.origin.recipient(), f.redirected, r.Original)
}

// recipient is the mailbox from which a program here sent the message on; "" if that is not known.
func (o *origin) recipient() string {
	if o == nil || o.seal == nil {
		return ""
	}
	return o.seal.Recipient
}

// identity is what SPF is asked about: the client that brought the message to this host, what it called
// itself, and the sender that it gave.
func (e *Envelope) identity() (ip netip.Addr, helo, sender string) {
	switch o := e.origin; {
	case o == nil || !o.outside:
		ip, _ = e.clientIP()
		return ip, e.HELO, e.Sender
	case !o.intact || o.seal.Sender == nil:
		return netip.Addr{}, "", ""
	default:
		return o.seal.Client, o.seal.HELO, *o.seal.Sender
	}
}

// trace gives an envelope of our own side with the origin of its message, and any with what the milter found.
// Other envelopes stay as they are.
func (f *Filter) trace(p *policy, env *Envelope, m *message.Message) (*Envelope, error) {
	if !env.isOurs(p.trusted) {
		if found := f.believedOutside(env, m); found != nil {
			traced := *env
			traced.recalled = found
			return &traced, nil
		}
		return env, nil
	}
	o, err := f.sealedOrigin(m)
	if err != nil {
		if env.isOnlyLocal() { // which never waits for a seal
			return env, nil
		}
		return nil, cause.SecretsUnusable.Failure(err)
	}
	if o.seal == nil && o.doubt.Text == "" && !env.isOnlyLocal() && !f.writtenHere(p, env, m) {
		o.doubt = cause.OriginUnknown.About()
	}
	o.outside = o.intact || o.doubt.Text != "" && p.wouldVouch(env, m)
	traced := *env
	traced.origin, traced.recalled = &o, f.believed(&o, m)
	return &traced, nil
}

// sealedOrigin is the origin that a message's seal tells.
func (f *Filter) sealedOrigin(m *message.Message) (o origin, err error) {
	if !f.config.Arrival.Seals() || !slices.ContainsFunc(m.Header, isSeal) || f.config.SRS.SecretsFile == "" {
		return o, nil
	}
	keys, err := f.sealKeys()
	if err != nil {
		return o, err
	}
	content := arrival.Content{Header: m.FoldedHeader()}
	content.Author, _ = m.Mailbox()
	if o.seal, err = keys.Find(content); err != nil {
		o.doubt = cause.OriginUnknown.About()
		return o, nil
	}
	if o.seal == nil || o.seal.AuthorReplaced {
		o.seal = nil // by a program here, as lists do
		return o, nil
	}
	if content.Body, err = m.FoldedBody(); err != nil {
		return o, err
	}
	o.renewable = o.seal.Fits(content)
	isCurrent := o.seal.Current(f.now(), time.Duration(f.config.Arrival.MaxAge))
	o.intact = o.renewable && isCurrent
	switch when := o.seal.Time.UTC().Format(time.RFC3339); {
	case !o.renewable:
		o.doubt = cause.OriginChanged.About(when)
	case !isCurrent:
		o.doubt = cause.OriginExpired.About(when)
	}
	return o, nil
}

func isSeal(field dkim.Field) bool { return field.Is(arrival.FieldName) }

// withoutSeals is a header without fields of that name: what leaves, and so what signatures are verified
// over.
func withoutSeals(header dkim.Header) dkim.Header {
	if !slices.ContainsFunc(header, isSeal) {
		return header
	}
	return slices.DeleteFunc(slices.Clone(header), isSeal)
}

// writtenHere tells whether a message of our own side without a seal can have been written by whom it comes
// from. A login proves that, and a trusted client on another host is responsible for its mail. A program on
// this host may send on anybody's mail, unless its sender is of our side. Received: fields tell more: whether
// no other host has had the message, or a user who logged in brought it; or that a program here fetched it.
func (f *Filter) writtenHere(p *policy, env *Envelope, m *message.Message) bool {
	if env.hasLogin() || !isThisHost(env) {
		return true
	}
	if m.Oversized { // what it is cannot be read, a seal neither
		return false
	}
	isOurs := func(name string) bool {
		name = domain.Canonical(name)
		return strings.Contains(name, ".") && p.isOwnSide(name)
	}
	switch message.PathOf(m.Header, f.config.Hostname, net.InterfaceAddrs, isOurs) {
	case message.ByUser:
		return true
	case message.Elsewhere:
		return false
	case message.NowhereElse:
		if env.Sender == "" {
			return true
		}
	}
	return env.Sender != "" && !p.ownsSRS(env.Sender) && p.isOwnSide(domain.Of(env.Sender))
}

// isThisHost tells whether no client brought a message, or one on this host.
func isThisHost(env *Envelope) bool {
	if !env.HasClient() {
		return true
	}
	ip, _ := env.clientIP()
	return message.IsThisHost(ip, net.InterfaceAddrs)
}

// isOwnSide tells whether a sender's domain is ours: local, this host's name, in the organisation of one that
// we sign for, or a name that means something on this host only.
func (p *policy) isOwnSide(name string) bool {
	return name == "" || name == "localhost" || p.local.Has(name) || name == p.hostname ||
		domain.Aligned(name, p.srsDomain) || p.authorSigner([]string{name}) != ""
}

// wouldVouch tells whether our signature, our sender or our name could make a message pass DMARC that proves
// nothing.
func (p *policy) wouldVouch(env *Envelope, m *message.Message) bool {
	if m.Oversized {
		return true
	}
	ours := []string{p.srsDomain, p.hostname}
	for signer := range p.signers {
		ours = append(ours, signer)
	}
	// An alias is not sure yet: if it cannot be stored, the sender may stay.
	if s, _ := p.srsSender(env.Sender); s.address == "" || s.alias != (srs.Key{}) {
		ours = append(ours, p.spfDomains(env.Sender)...)
	}
	return slices.ContainsFunc(p.authors(env, m), func(author string) bool {
		mayAlign := func(name string) bool { return name != "" && domain.MayAlign(author, name) }
		return p.local.Has(author) || slices.ContainsFunc(ours, mayAlign)
	})
}
