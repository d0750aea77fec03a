package filter

import (
	"cmp"
	"slices"

	"postmend/dkim"
	"postmend/filter/message"
	"postmend/filter/message/author"
	"postmend/filter/plan"
	"postmend/reinject"
)

// transactions turns the plan into what is handed over.
func (f *Filter) transactions(
	env *plan.Envelope, m *message.Message, decided plan.Plan, known plan.Facts, log *LogLine,
) ([]reinject.Transaction, error) {
	utf8 := env.UTF8 || env.NeedsUTF8() || m.CameWithUTF8()
	var transactions []reinject.Transaction
	for _, d := range decided.Deliveries {
		leaving, err := f.content(env, m, d, known, utf8, log)
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

// content makes the message of a delivery; utf8 is set if it leaves by SMTPUTF8.
func (f *Filter) content(
	env *plan.Envelope, m *message.Message, d plan.Delivery, known plan.Facts, utf8 bool, log *LogLine,
) (*message.Content, error) {
	leaving := m.Content()
	if d.Arrival != "" && known.HasSeal() {
		leaving.Replace(withoutSeals(m.Header))
	}
	if d.Arrival == plan.SealAdded || d.Arrival == plan.SealRenewed {
		seal, err := f.arrivalField(env, m, d, known)
		if err != nil {
			return nil, err
		}
		leaving.Prepend(seal)
	}
	if d.Purge {
		leaving.Replace(slices.DeleteFunc(slices.Clone(leaving.Remaining()), f.claimsToBeOurs))
	}
	if d.Trace {
		to := plan.Recipient{Address: d.Recipients[0].Address, Original: known.Alias(d.Recipients[0])}
		leaving.Prepend(traceFields(to)...)
	}
	if d.Stamp {
		leaving.Prepend(f.authenticationResults(known.Proven.Results))
	}
	if d.From != "" {
		replacement := author.NewAuthor{Address: d.From, Name: f.fromName}
		header, err := author.Rewrite(leaving.Remaining(), replacement, utf8 && m.EightBit)
		if err != nil { // newAuthor would have rejected the address
			return nil, err
		}
		leaving.Replace(header)
	}
	if d.Fold {
		leaving.Fold()
	}
	return leaving, f.sign(leaving, d, known, log)
}

func reinjectRecipients(recipients []plan.Recipient) []reinject.Recipient {
	list := make([]reinject.Recipient, len(recipients))
	for i, r := range recipients {
		list[i] = reinject.Recipient{Address: r.Address, Original: cmp.Or(r.Original, r.Claimed),
			Notify: r.Notify}
	}
	return list
}

// traceFields are the fields that receivers expect from forwarders; they name the recipient and the alias
// that led there.
func traceFields(r plan.Recipient) dkim.Header {
	fields := dkim.Header{dkim.Field("X-Forwarded-To: " + r.Address + "\r\n")}
	if r.Original != "" && r.Original != r.Address {
		fields = append(fields, dkim.Field("X-Forwarded-For: "+r.Original+" "+r.Address+"\r\n"))
	}
	return fields
}
