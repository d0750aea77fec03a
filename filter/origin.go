package filter

import (
	"net"
	"slices"
	"strings"
	"time"

	"postmend/dkim"
	"postmend/filter/arrival"
	"postmend/filter/cause"
	"postmend/filter/domain"
	"postmend/filter/message"
	"postmend/filter/plan"
)

// Mail of our own side is not always written here: Sieve, procmail and lists send on mail from outside. The
// seal of its arrival tells that, and the client. A seal proves origin, never authority: it can take the
// rights of our own side away, but gives no rights that the message did not arrive with.

// trace gives an envelope of our own side with the origin of its message, and any with what the milter found.
// Other envelopes stay as they are.
func (f *Filter) trace(p *plan.Policy, env *plan.Envelope, m *message.Message) (*plan.Envelope, error) {
	if !p.IsOurs(env) {
		if found := f.believedOutside(env, m); found != nil {
			traced := *env
			traced.Recalled = found
			return &traced, nil
		}
		return env, nil
	}
	o, err := f.sealedOrigin(m)
	if err != nil {
		if env.IsOnlyLocal() { // which never waits for a seal
			return env, nil
		}
		return nil, cause.SecretsUnusable.Failure(err)
	}
	if o.Seal == nil && o.Doubt.Text == "" && !env.IsOnlyLocal() && !f.writtenHere(p, env, m) {
		o.Doubt = cause.OriginUnknown.About()
	}
	o.Outside = o.Intact || o.Doubt.Text != "" && p.WouldVouch(env, m)
	traced := *env
	traced.Origin, traced.Recalled = &o, f.believed(&o, m)
	return &traced, nil
}

// sealedOrigin is the origin that a message's seal tells.
func (f *Filter) sealedOrigin(m *message.Message) (o plan.Origin, err error) {
	if !f.config.Arrival.Seals() || !slices.ContainsFunc(m.Header, isSeal) || f.config.SRS.SecretsFile == "" {
		return o, nil
	}
	keys, err := f.sealKeys()
	if err != nil {
		return o, err
	}
	content := arrival.Content{Header: m.FoldedHeader()}
	content.Author, _ = m.Mailbox()
	if o.Seal, err = keys.Find(content); err != nil {
		o.Doubt = cause.OriginUnknown.About()
		return o, nil
	}
	if o.Seal == nil || o.Seal.AuthorReplaced {
		o.Seal = nil // by a program here, as lists do
		return o, nil
	}
	if content.Body, err = m.FoldedBody(); err != nil {
		return o, err
	}
	o.Renewable = o.Seal.Fits(content)
	isCurrent := o.Seal.Current(f.now(), time.Duration(f.config.Arrival.MaxAge))
	o.Intact = o.Renewable && isCurrent
	switch when := o.Seal.Time.UTC().Format(time.RFC3339); {
	case !o.Renewable:
		o.Doubt = cause.OriginChanged.About(when)
	case !isCurrent:
		o.Doubt = cause.OriginExpired.About(when)
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
func (f *Filter) writtenHere(p *plan.Policy, env *plan.Envelope, m *message.Message) bool {
	if env.HasLogin() || !isThisHost(env) {
		return true
	}
	if m.Oversized { // what it is cannot be read, a seal neither
		return false
	}
	isOurs := func(name string) bool {
		name = domain.Canonical(name)
		return strings.Contains(name, ".") && p.IsOwnSide(name)
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
	return env.Sender != "" && !p.OwnsSRS(env.Sender) && p.IsOwnSide(domain.Of(env.Sender))
}

// isThisHost tells whether no client brought a message, or one on this host.
func isThisHost(env *plan.Envelope) bool {
	if !env.HasClient() {
		return true
	}
	ip, _ := env.ClientIP()
	return message.IsThisHost(ip, net.InterfaceAddrs)
}
