package plan

import (
	"postmend/filter/authn"
	"postmend/filter/cause"
)

// Transit is what SPF says if this host sends a message on with the sender it came with: a Pass is one that
// the message arrived without.
type Transit struct {
	// Status is Pass if a receiver could let it pass, TempError if that is not known, anything else if it
	// does not. "" is a question that was not asked.
	Status authn.Status
	// Unknown is set with TempError: the failure that defers the message while waiting can help.
	Unknown *cause.Failure
	// Ours is set if the addresses of this host are unknown: the fault is ours, so no mail is rejected for
	// it.
	Ours bool
	// OnlyHELO is set if it passes, or could, by a name in HELO alone, and the sender does not matter.
	OnlyHELO bool
}

// SPFQuery is an identity that SPF is asked about; without a sender, it is the name in HELO.
type SPFQuery struct{ HELO, Sender string }

// WantTransit is the failure of a plan that depends on transit before it was looked up: then the filter does
// that, and plans again.
var WantTransit = &cause.Failure{Reason: "SPF of this host was not looked up"}
