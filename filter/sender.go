package filter

import (
	"errors"
	"strings"

	"postmend/filter/cause"
	"postmend/filter/domain"
	"postmend/srs"
)

// sender is what becomes of an envelope sender: "" stays.
type sender struct {
	address string
	alias   srs.Key // if address is an alias
	why     cause.Reason
}

// rewriteSender gives a remote delivery a sender for which this host may send. If SRS cannot rewrite the
// sender, and there is no store for an alias, it stays: SPF does not pass at the next hop, but bounces reach
// the sender.
func (p *policy) rewriteSender(d *Delivery, env *Envelope) *cause.Failure {
	s, err := p.srsSender(env.Sender)
	d.send(s)
	return err
}

// send gives a delivery its rewritten sender, if there is one.
func (d *Delivery) send(s sender) {
	if s.address != "" {
		d.Sender, d.Alias = s.address, s.alias
	}
	if s.why.Text != "" {
		d.Reasons = append(d.Reasons, s.why)
	}
}

// srsSender decides about a sender.
func (p *policy) srsSender(address string) (sender, *cause.Failure) {
	domain := domain.Of(address)
	switch {
	case address == "":
		return sender{why: cause.SenderNull.About()}, nil
	case p.srsDomain == "":
		return sender{why: cause.SenderWithoutSRS.About()}, nil
	case domain == "" || p.local.Has(domain) && domain != p.srsDomain:
		return sender{why: cause.SenderLocal.About()}, nil
	case domain == p.srsDomain:
		return sender{why: cause.SenderOwnSRS.About()}, nil
	case p.srsError != nil:
		return sender{}, cause.SecretsUnusable.Failure(p.srsError)
	}
	return p.senderForm(address), nil
}

// senderForm gives the SRS form of a sender, or an alias if it has none that bounces could come back to.
func (p *policy) senderForm(address string) sender {
	rewritten, err := p.srs.Forward(address)
	var unfit cause.Cause
	switch {
	case err == nil && !isRouted(address):
		return sender{address: rewritten, why: cause.SenderRewritten.About()}
	case err == nil:
		unfit = cause.SenderRouted
	case errors.Is(err, srs.ErrTooLong):
		unfit = cause.SenderTooLong
	default:
		return sender{why: cause.SenderUnusable.About(err)}
	}
	switch {
	case !p.stored.inUse:
		return sender{why: unfit.About()}
	case p.stored.err != nil:
		return sender{why: cause.SenderNotStored.About(p.stored.err)}
	}
	alias, key, err := p.srs.Alias(address)
	if err != nil {
		return sender{why: cause.SenderUnusable.About(err)}
	}
	return sender{address: alias, alias: key, why: cause.SenderStored.About()}
}

// isRouted tells whether Postfix reads what is before the last @ as routing by the sender, and rejects
// bounces for it.
func isRouted(address string) bool {
	return strings.ContainsAny(address[:strings.LastIndexByte(address, '@')], "@%!")
}
