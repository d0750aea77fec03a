package plan

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"postmend/dkim"
	"postmend/filter/arrival"
	"postmend/filter/cause"
	"postmend/filter/domain"
	"postmend/filter/message"
	"postmend/srs"
)

// Origin is where a message of our own side came from, as far as this host can know.
type Origin struct {
	// Seal is nil without one that holds.
	Seal *arrival.Sealed
	// Intact is set if the message is still what was sealed, in time.
	Intact bool
	// Renewable is set if the message is still what was sealed, in time or not.
	Renewable bool
	// Doubt says why the message counts as unauthenticated mail from outside; "" if there is no doubt.
	Doubt cause.Reason
	// Outside is set if the message is treated as mail from outside.
	Outside bool
}

// ShownOrigin is an origin for explain --json.
type ShownOrigin struct {
	Sealed    bool   `json:"sealed"`    // by a seal that holds; else nothing of the origin is known
	Client    string `json:"client"`    // address; "" is not known
	Sender    string `json:"sender"`    // reverse-path on arrival; "" is the null sender, or not known
	Recipient string `json:"recipient"` // it was delivered to; "" if there were several
	Intact    bool   `json:"intact"`    // since then, and in time: SPF is checked for client and sender
}

// Shown gives what of an origin is shown. A nil origin is of mail that has none but its client.
func (o *Origin) Shown() ShownOrigin {
	if o == nil || o.Seal == nil {
		return ShownOrigin{}
	}
	shown := ShownOrigin{Sealed: true, Recipient: o.Seal.Recipient, Intact: o.Intact}
	if o.Seal.Client.IsValid() {
		shown.Client = o.Seal.Client.String()
	}
	if o.Seal.Sender != nil {
		shown.Sender = *o.Seal.Sender
	}
	return shown
}

// becauseOrigin tells a person where the message came from.
func (d *Delivery) becauseOrigin(o *Origin) {
	switch {
	case o == nil:
	case o.Doubt.Text != "":
		d.Reasons = append(d.Reasons, o.Doubt)
	case o.Intact:
		d.because(cause.OriginSealed, cmp.Or(o.Shown().Client, "of unknown address"))
	}
}

// Alias is the address here from which a message goes on to a recipient; "" if that is not known.
func (f Facts) Alias(r Recipient) string {
	return cmp.Or(f.Origin.recipient(), f.Redirected, r.Original)
}

// recipient is the mailbox from which a program here sent the message on; "" if that is not known.
func (o *Origin) recipient() string {
	if o == nil || o.Seal == nil {
		return ""
	}
	return o.Seal.Recipient
}

// Identity is what SPF is asked about: the client that brought the message to this host, what it called
// itself, and the sender that it gave.
func (e *Envelope) Identity() (ip netip.Addr, helo, sender string) {
	switch o := e.Origin; {
	case o == nil || !o.Outside:
		ip, _ = e.ClientIP()
		return ip, e.HELO, e.Sender
	case !o.Intact || o.Seal.Sender == nil:
		return netip.Addr{}, "", ""
	default:
		return o.Seal.Client, o.Seal.HELO, *o.Seal.Sender
	}
}

// IsOwnSide tells whether a sender's domain is ours: local, this host's name, in the organisation of one that
// we sign for, or a name that means something on this host only.
func (p *Policy) IsOwnSide(name string) bool {
	return name == "" || name == "localhost" || p.local.Has(name) || name == p.hostname ||
		domain.Aligned(name, p.srsDomain) || p.AuthorSigner([]string{name}) != ""
}

// WouldVouch tells whether our signature, our sender or our name could make a message pass DMARC that proves
// nothing.
func (p *Policy) WouldVouch(env *Envelope, m *message.Message) bool {
	if m.Oversized {
		return true
	}
	ours := []string{p.srsDomain, p.hostname}
	for signer := range p.signers {
		ours = append(ours, signer)
	}
	// An alias is not sure yet: if it cannot be stored, the sender may stay.
	if s, _ := p.SenderFor(env.Sender); s.Address == "" || s.Alias != (srs.Key{}) {
		ours = append(ours, p.spfDomains(env.Sender)...)
	}
	return slices.ContainsFunc(p.Authors(env, m), func(author string) bool {
		mayAlign := func(name string) bool { return name != "" && domain.MayAlign(author, name) }
		return p.local.Has(author) || slices.ContainsFunc(ours, mayAlign)
	})
}

// IsOf tells whether an arrival is that of an envelope.
func (o *Origin) IsOf(env *Envelope) bool {
	ip, _ := env.ClientIP()
	s := o.Seal
	return ip.IsValid() && s.Client == ip && s.HELO == env.HELO && s.Sender != nil && *s.Sender == env.Sender
}

// sieveRedirected is the field in which Pigeonhole writes the mailbox that redirects a message.
const sieveRedirected = "X-Sieve-Redirected-From"

// RedirectedFrom is the mailbox here by which Sieve sent a message on, if it tells one for whose domain we
// sign; "" otherwise. Only what stands above the second Received: field can have been written here: below it
// is what the message came with.
func (p *Policy) RedirectedFrom(m *message.Message) string {
	received := 0
	for _, field := range m.Header {
		if field.Is("Received") {
			if received++; received == 2 {
				return ""
			}
		}
		if !field.Is(sieveRedirected) {
			continue
		}
		address := strings.TrimSpace(dkim.Unfold(field.Value()))
		name := domain.Of(address)
		if len(address) > maxTraceValue || indexControl(address) >= 0 || !p.local.Has(name) ||
			p.AuthorSigner([]string{name}) == "" {
			return ""
		}
		return address
	}
	return ""
}
