package filter

import (
	"slices"

	"postmend/dkim"
	"postmend/filter/message"
	"postmend/filter/message/author"
	"postmend/filter/plan"
)

// content makes the message of a delivery; utf8 is set if it leaves by SMTPUTF8.
func (j *job) content(d plan.Delivery, utf8 bool, log *LogLine) (*message.Content, error) {
	leaving := j.message.Content()
	if d.Arrival != "" && j.known.HasSeal() {
		leaving.Replace(withoutSeals(j.message.Header))
	}
	if d.Arrival == plan.SealAdded || d.Arrival == plan.SealRenewed {
		seal, err := j.arrivalField(d)
		if err != nil {
			return nil, err
		}
		leaving.Prepend(seal)
	}
	if d.Purge {
		leaving.Replace(slices.DeleteFunc(slices.Clone(leaving.Remaining()), j.filter.claimsToBeOurs))
	}
	if d.Trace {
		to := plan.Recipient{Address: d.Recipients[0].Address, Original: j.known.Alias(d.Recipients[0])}
		leaving.Prepend(traceFields(to)...)
	}
	if d.Stamp {
		leaving.Prepend(j.filter.authenticationResults(j.known.Proven.Results))
	}
	if d.From != "" {
		replacement := author.NewAuthor{Address: d.From, Name: j.filter.fromName}
		header, err := author.Rewrite(leaving.Remaining(), replacement, utf8 && j.message.EightBit)
		if err != nil { // newAuthor would have rejected the address
			return nil, err
		}
		leaving.Replace(header)
	}
	if d.Fold {
		leaving.Fold()
	}
	return leaving, j.sign(leaving, d, log)
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
