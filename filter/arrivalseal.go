package filter

import (
	"slices"

	"postmend/dkim"
	"postmend/filter/arrival"
	"postmend/filter/message"
	"postmend/filter/plan"
)

// unsealable says why mail from outside that is delivered here gets no seal; nil if it does.
func (f *Filter) unsealable() error {
	_, err := f.sealKeys()
	return err
}

// isSealedUnread tells whether the milter has sealed a message whose header is too long to be read. Fields of
// that name that somebody else put into it cannot be removed; with such a seal, they are invalid.
func (f *Filter) isSealedUnread(m *message.Message) bool {
	if keys, err := f.sealKeys(); m.Oversized && err == nil && f.config.Arrival.Seals() {
		seal, err := keys.Find(arrival.Content{Header: m.Top()})
		return err == nil && seal != nil && seal.NamesNobody
	}
	return false
}

// hashesBody tells by the header whether the body of a message will be asked for: to read a seal, or to make
// one, for mail from outside that is delivered here.
func (f *Filter) hashesBody(makesSeal bool) func(dkim.Header) bool {
	if _, err := f.sealKeys(); err != nil || !f.config.Arrival.Seals() {
		return nil
	}
	return func(header dkim.Header) bool { return makesSeal || slices.ContainsFunc(header, isSeal) }
}

// arrivalField makes the seal of a delivery.
func (j *job) arrivalField(d plan.Delivery) (dkim.Field, error) {
	var from arrival.Origin
	if d.Arrival == plan.SealRenewed {
		from = j.known.Origin.Seal.Origin
	} else {
		from = j.filter.arrivedFrom(j.env)
		if j.known.Recalled != nil {
			from.Verdict = j.known.Recalled.Verdict
		}
	}
	from.Recipient, from.Original = "", ""
	if len(d.Recipients) == 1 { // one recipient must not learn of the other's alias
		from.Recipient, from.Original = d.Recipients[0].Address, d.Recipients[0].Original
	}
	return j.filter.sealArrival(j.message, from)
}

// arrivedFrom is where a message comes from that arrives now.
func (f *Filter) arrivedFrom(env *plan.Envelope) arrival.Origin {
	ip, _ := env.ClientIP()
	return arrival.Origin{Time: f.now(), Client: ip, Name: env.ClientName, Protocol: env.ClientProtocol,
		HELO: env.HELO, Sender: &env.Sender}
}

// sealArrival makes a seal.
func (f *Filter) sealArrival(m *message.Message, from arrival.Origin) (dkim.Field, error) {
	keys, err := f.sealKeys()
	if err != nil {
		return nil, err
	}
	if m.Oversized { // Postfix may make it shorter when a program here submits it again
		return keys.Seal(from, arrival.Content{}), nil
	}
	content := arrival.Content{Header: m.FoldedHeader()}
	if m.KeepsName() { // otherwise it would look as if a program had replaced the author
		content.Author, _ = m.Mailbox()
	}
	if content.Body, err = m.FoldedBody(); err != nil {
		return nil, err
	}
	return keys.Seal(from, content), nil
}
