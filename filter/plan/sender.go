package plan

import (
	"errors"
	"strings"

	"postmend/filter/cause"
	"postmend/filter/domain"
	"postmend/srs"
)

// Sender is what becomes of an envelope sender: "" stays.
type Sender struct {
	Address string
	Alias   srs.Key // if address is an alias
	Why     cause.Reason
}

// rewriteSender gives a remote delivery a sender for which this host may send. If SRS cannot rewrite the
// sender, and there is no store for an alias, it stays: SPF does not pass at the next hop, but bounces reach
// the sender.
func (p *Policy) rewriteSender(d *Delivery, env *Envelope) *cause.Failure {
	s, err := p.SenderFor(env.Sender)
	d.send(s)
	return err
}

// send gives a delivery its rewritten sender, if there is one.
func (d *Delivery) send(s Sender) {
	if s.Address != "" {
		d.Sender, d.Alias = s.Address, s.Alias
	}
	if s.Why.Text != "" {
		d.Reasons = append(d.Reasons, s.Why)
	}
}

// srsSender decides about a sender.
func (p *Policy) SenderFor(address string) (Sender, *cause.Failure) {
	domain := domain.Of(address)
	switch {
	case address == "":
		return Sender{Why: cause.SenderNull.About()}, nil
	case p.srsDomain == "":
		return Sender{Why: cause.SenderWithoutSRS.About()}, nil
	case domain == "" || p.local.Has(domain) && domain != p.srsDomain:
		return Sender{Why: cause.SenderLocal.About()}, nil
	case domain == p.srsDomain:
		return Sender{Why: cause.SenderOwnSRS.About()}, nil
	case p.srsError != nil:
		return Sender{}, cause.SecretsUnusable.Failure(p.srsError)
	}
	return p.SRSForm(address), nil
}

// senderForm gives the SRS form of a sender, or an alias if it has none that bounces could come back to.
func (p *Policy) SRSForm(address string) Sender {
	rewritten, err := p.srs.Forward(address)
	var unfit cause.Cause
	switch {
	case err == nil && !isRouted(address):
		return Sender{Address: rewritten, Why: cause.SenderRewritten.About()}
	case err == nil:
		unfit = cause.SenderRouted
	case errors.Is(err, srs.ErrTooLong):
		unfit = cause.SenderTooLong
	default:
		return Sender{Why: cause.SenderUnusable.About(err)}
	}
	switch {
	case !p.stored.inUse:
		return Sender{Why: unfit.About()}
	case p.stored.err != nil:
		return Sender{Why: cause.SenderNotStored.About(p.stored.err)}
	}
	alias, key, err := p.srs.Alias(address)
	if err != nil {
		return Sender{Why: cause.SenderUnusable.About(err)}
	}
	return Sender{Address: alias, Alias: key, Why: cause.SenderStored.About()}
}

// isRouted tells whether Postfix reads what is before the last @ as routing by the sender, and rejects
// bounces for it.
func isRouted(address string) bool {
	return strings.ContainsAny(address[:strings.LastIndexByte(address, '@')], "@%!")
}
