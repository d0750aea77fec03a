package plan

import (
	"cmp"
	"fmt"

	"postmend/filter/authn"
	"postmend/filter/domain"
)

// Forecast is what a strict receiver will see of a delivery, as far as this host can know. It assumes that
// the DNS records of our own domains are correct, and that the next hop accepts 8-bit mail unchanged.
type Forecast struct {
	SPF   string `json:"spf"`
	DMARC string `json:"dmarc"` // begins with pass, fail or none
}

// forecast makes the Forecast of a planned delivery.
func (p *Policy) forecast(d *Delivery, msg Facts, isOurs bool) *Forecast {
	return &Forecast{SPF: p.forecastSPF(d.Sender), DMARC: p.forecastDMARC(d, msg, isOurs)}
}

func (p *Policy) forecastSPF(sender string) string {
	domain := domain.Of(sender)
	switch {
	case sender == "":
		return "depends on the SPF record of the name that this host gives in HELO"
	case domain == "" || p.local.Has(domain):
		return fmt.Sprintf("pass for %s, if its record allows this host",
			cmp.Or(domain, "this host's domain"))
	}
	return fmt.Sprintf("no pass for %s, which is not a domain of this host", domain)
}

func (p *Policy) forecastDMARC(d *Delivery, msg Facts, isOurs bool) string {
	result := msg.Proven.DMARC
	switch survivor, _ := p.survivor(msg); {
	case d.From != "":
		return fmt.Sprintf("pass, by this host's signature for %s", d.SignAs)
	case d.SignAs != "" && alignedWithAny(d.SignAs, msg.Authors):
		return fmt.Sprintf("pass, by this host's signature for %s", d.SignAs)
	case (isOurs || msg.Authentic()) && p.local.Has(domain.Of(d.Sender)) &&
		alignedWithAny(domain.Of(d.Sender), msg.Authors):
		return fmt.Sprintf("pass, by SPF, if the record of %s allows this host", domain.Of(d.Sender))
	case isOurs:
		return "unknown: there is no key for the domain of From:"
	case survivor != "":
		return fmt.Sprintf("pass, by the author's signature for %s", survivor)
	case result.Status == authn.None:
		return "none: the domain of From: has no valid DMARC record"
	case result.Policy == "":
		return "unknown, as on arrival"
	}
	return fmt.Sprintf("fail, and the policy is %s", result.Policy)
}
