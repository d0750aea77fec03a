package plan

import (
	"strings"

	"postmend/filter/arrival"
	"postmend/filter/cause"
)

// ArrivalSeal is what happens to X-Postmend-Arrival.
type ArrivalSeal string

// Without any of these the field stays as it is, or there is none.
const (
	SealAdded   ArrivalSeal = "added"   // for mail from outside, whose own fields of that name are removed
	SealRenewed ArrivalSeal = "renewed" // for a mailbox here that a program here sends it on to
	SealRemoved ArrivalSeal = "removed"
)

// settleArrival plans for the seal of a delivery.
func (p *Policy) settleArrival(d *Delivery, env *Envelope, msg Facts) {
	switch hasSeal := msg.HasSeal(); {
	case !p.sealsArrival:
		return
	case d.Class != Local:
		if hasSeal {
			d.Arrival = SealRemoved
		}
		return
	case env.Origin != nil || p.IsOurs(env):
		if env.Origin != nil && env.Origin.Renewable {
			d.Arrival = SealRenewed
		}
		return
	case msg.UnreadSealed:
		return
	case msg.Unsealable == nil:
		d.Arrival = SealAdded
		return
	case hasSeal:
		d.Arrival = SealRemoved
	}
	d.because(cause.ArrivalUnsealed, msg.Unsealable)
}

// sealField is the name of a seal in Facts.occurrences.
var sealField = strings.ToLower(arrival.FieldName)
