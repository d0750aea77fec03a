package maillog

import "postmend/postfix"

// Status is what became of a recipient.
type Status int

const (
	// Pending: no attempt was seen.
	Pending Status = iota
	// Delivered: some host or mailbox took the message.
	Delivered
	// Deferred: still in the queue when the log ended.
	Deferred
	// Refused: returned to the sender, because a host said so or because the attempts came to nothing.
	Refused
	// Discarded: dropped by postmend, as configured.
	Discarded
	// Probed: Postfix verified an address; there was no message.
	Probed
)

// Kind is what a message is to this host.
type Kind string

// The kinds. Without a line of postmend's they are guessed from addresses and agents.
const (
	Forwarded Kind = "forwarded"
	Outgoing  Kind = "outgoing"
	Local     Kind = "local"
	Returned  Kind = "returned" // a bounce that goes back by an SRS address
)

// Kinds gives all kinds, the one that reports are about first.
func Kinds() []Kind { return []Kind{Forwarded, Outgoing, Local, Returned} }

// Outcome is what became of one recipient of a message.
type Outcome struct {
	ID     string // queue id under which the message arrived
	At     int64
	Kind   Kind
	Status Status
	// Sender is the envelope sender as the message arrived, SRS addresses decoded; "" is the null sender.
	Sender string
	// Alias is the recipient before aliases, if it was another.
	Alias, Recipient string
	// Relay is the host that answered; "" if there was none.
	Relay  string
	Reason string
	// Deferrals counts the attempts that were put off.
	Deferrals int
	// Expired is set if nobody refused, and Postfix gave up.
	Expired bool
	// ByFilter is set if postmend refused or deferred it, not a receiver.
	ByFilter bool
	// FromLocal is set if local(8) sent the message on, for an alias(5) or a .forward file.
	FromLocal bool
	// Mend is what postmend logged; nil if it did not see the message.
	Run *Run
}

// count reports a family, and forgets it.
func (t *Tracker) count(root *message) {
	switch {
	case root.isNotice():
		t.Stats.Notices++
	case !root.probe:
		t.outcomes(root, root)
	}
	t.forget(root)
}

func (t *Tracker) forget(m *message) {
	for _, child := range m.children {
		t.forget(child)
	}
	t.detach(m)
	t.cost -= m.cost
	if t.known[m.key] == m {
		delete(t.known, m.key)
	}
}

// isNotice tells whether Postfix made the message. Of one with a null sender that came from nowhere, it did.
func (m *message) isNotice() bool {
	return m.notice || m.queued && m.sender == "" && !m.arrived
}

// outcomes reports the recipients of m and its children.
func (t *Tracker) outcomes(root, m *message) {
	continued := m.continued()
	for n := range m.recipients {
		r := &m.recipients[n]
		goesOn := r.passed || len(continued) > 0 &&
			(len(m.recipients) == 1 || continued[r.to] || continued[originalSender(r.to)])
		switch {
		case r.status == Pending || r.status == Probed:
		case r.status == Deferred && m.deleted:
			t.Stats.Deleted++
		case r.status == Delivered && goesOn && !r.discarded:
		case r.status == Delivered && r.filtered && !r.discarded:
			t.Stats.Lost++
		default:
			o := t.outcome(root, m, r)
			t.Outcome(&o)
		}
	}
	for _, child := range m.children {
		t.outcomes(root, child)
	}
}

// continued gives the recipients of the messages that m led to.
func (m *message) continued() map[string]bool {
	if len(m.children) == 0 {
		return nil
	}
	to := map[string]bool{}
	for _, child := range m.children {
		for n := range child.recipients {
			to[child.recipients[n].to] = true
		}
	}
	return to
}

// outcome tells what became of a recipient of m, in the words of the message that arrived.
func (t *Tracker) outcome(root, m *message, r *recipient) Outcome {
	o := Outcome{ID: root.id, At: r.at, Status: r.status,
		Recipient: r.to, Alias: r.original, Reason: r.reason,
		Deferrals: r.deferrals, Expired: r.expired, Sender: root.senderOrNext(), Run: m.run}
	if o.Run == nil {
		o.Run = m.lastRun()
	}
	if r.relay != "none" {
		o.Relay = r.relay
	}
	if r.discarded {
		o.Status = Discarded
	}
	o.ByFilter = r.agent == pipe && (r.relay == "postmend" || r.filtered)
	for parent := m.parent; parent != nil; parent = parent.parent {
		via := parent.via(r.to)
		if via == nil {
			continue
		}
		o.Deferrals += via.deferrals
		o.FromLocal = o.FromLocal || via.passed
		if via.original != "" {
			o.Alias = via.original
		} else if via.to != r.to && !isSRS(via.to) {
			o.Alias = via.to
		}
	}
	o.Kind = kindOf(&o, root, m, r)
	o.Sender = originalSender(o.Sender)
	o.clean()
	return o
}

// clean is the border: behind it, no text of a log can steer a terminal, a browser or whatever else shows
// it. parseRun cleans what postmend logged.
func (o *Outcome) clean() {
	for _, text := range []*string{&o.Sender, &o.Alias, &o.Recipient, &o.Relay, &o.Reason} {
		*text = postfix.PrintableUTF8(*text)
	}
}

// senderOrNext is the sender; of a message whose beginning the log does not have, that of the one it led to.
func (m *message) senderOrNext() string {
	if !m.queued && m.sender == "" {
		for _, child := range m.children {
			if sender := child.senderOrNext(); sender != "" {
				return sender
			}
		}
	}
	return m.sender
}

func kindOf(o *Outcome, root, m *message, r *recipient) Kind {
	if isSRS(o.Alias) { // PostSRSd has reversed it
		return Returned
	}
	if o.Run != nil {
		switch o.Run.Class {
		case "forwarded", "bounce":
			return Forwarded
		case "outgoing":
			// A user's own sender needs no SRS: this one is somebody else's, and a local program, such as
			// Sieve, sent it on.
			if isSRS(o.Run.Sender) {
				return Forwarded
			}
			return Outgoing
		case "local":
			return Local
		case "reversed":
			return Returned
		}
	}
	switch {
	case isSRS(r.to):
		return Returned
	case r.agent == deliverer && r.relay != "none", r.agent == lmtp, r.agent == pipe && !o.ByFilter:
		return Local
	case isSRS(root.sender), isSRS(m.sender), o.Alias != "" && !root.own:
		return Forwarded
	}
	return Outgoing
}

// announceAll reports the refusals of m that nobody has heard of.
func (t *Tracker) announceAll(m *message) {
	m.waits = false
	for n := range m.recipients {
		t.announce(m, &m.recipients[n])
	}
}

// announce reports the refusal of a recipient if nobody has heard of it. It waits until it is known by
// which alias the message came.
func (t *Tracker) announce(m *message, r *recipient) {
	if t.Refusal == nil || r.status != Refused || r.announced {
		return
	}
	root := m.root()
	if root.isNotice() || m.parent != nil && m.parent.via(r.to) == nil {
		m.waits = true
		return
	}
	r.announced = true
	o := t.outcome(root, m, r)
	t.Refusal(&o)
}
