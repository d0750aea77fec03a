package filter

import (
	"cmp"
	"errors"
	"strings"

	"postmend/filter/cause"
	"postmend/filter/plan"
	"postmend/reinject"
)

// transactions turns the plan into what is handed over.
func (j *job) transactions(decided plan.Plan, log *LogLine) ([]reinject.Transaction, error) {
	env, m := j.env, j.message
	utf8 := env.UTF8 || env.NeedsUTF8() || m.CameWithUTF8()
	var transactions []reinject.Transaction
	for _, d := range decided.Deliveries {
		leaving, err := j.content(d, utf8, log)
		if err != nil {
			return nil, err
		}
		transactions = append(transactions, reinject.Transaction{
			Sender:     d.Sender,
			Recipients: reinjectRecipients(d.Recipients),
			EnvelopeID: env.ID,
			Return:     env.Return,
			Content:    leaving,
			EightBit:   m.EightBit,
			UTF8:       utf8,
			Size:       m.Size(),
		})
	}
	return transactions, nil
}

func reinjectRecipients(recipients []plan.Recipient) []reinject.Recipient {
	list := make([]reinject.Recipient, len(recipients))
	for i, r := range recipients {
		list[i] = reinject.Recipient{Address: r.Address, Original: cmp.Or(r.Original, r.Claimed),
			Notify: r.Notify}
	}
	return list
}

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
