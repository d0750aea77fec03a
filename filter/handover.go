package filter

import (
	"errors"
	"strings"

	"postmend/filter/cause"
	"postmend/filter/plan"
	"postmend/reinject"
)

// handOverFailure says what a failed hand-over means for the message. It is permanent only if the next hop
// rejected this very message.
func handOverFailure(err error) error {
	var refused *reinject.Error
	if !errors.As(err, &refused) {
		return err
	}
	var f *cause.Failure
	switch {
	case refused.Unsendable && refused.Stage == "MAIL":
		return cause.Unsendable(cause.SenderInvalid, refused.Temporary(), err)
	case refused.Unsendable:
		return cause.Unsendable(cause.RecipientInvalid, refused.Temporary(), err)
	case refused.Code != 0:
		f = cause.NextHopReplied.Failure(err, refused.Stage, refused.Text)
		f.Code = refused.Enhanced // of another class than the kind's, it is replaced when reported
	case refused.Address != "":
		f = cause.NextHopAddress.Failure(err, refused.Stage)
	default:
		f = cause.NextHopFailed.Failure(err, refused.Stage)
	}
	if !refused.Temporary() {
		f.Kind = cause.Policy
		if len(refused.Enhanced) > 4 && refused.Enhanced[:4] == "5.6." {
			f.Kind = cause.BadMessage
		}
	}
	return f
}

// clientOf is what XFORWARD tells the listener of the client that brought the message.
func clientOf(e *plan.Envelope) reinject.Client {
	return reinject.Client{
		Name:     e.ClientName,
		Address:  e.ClientAddress,
		Port:     e.ClientPort,
		Protocol: strings.ToUpper(e.ClientProtocol),
		HELO:     e.HELO,
		Ident:    e.QueueID,
	}
}
