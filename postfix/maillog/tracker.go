package maillog

import (
	"bytes"
	"hash/maphash"
	"strconv"
	"time"

	"postmend/filter"
)

// Tracker follows messages through a log.
//
// A message that a content filter hands back gets a second queue id; both, and what local(8) forwards, are
// one family, whose root is the message as it arrived. A family is counted when the last of it is gone
// from the queue, recipient by recipient.
type Tracker struct {
	// Outcome is called once for each recipient of a message, at its end.
	Outcome func(*Outcome)
	// Refusal, if set, is called when a refusal is logged, which may be days before the message's end. Of
	// a message it sees no more recipients than Outcome does.
	Refusal func(*Outcome)
	// Piped is called for each message that pipe(8) handed to postmend, Ran for each line of postmend,
	// both with the seconds that it took.
	Piped, Ran func(seconds float64)

	frame   framing
	seed    maphash.Seed
	known   map[uint64]*message
	oldest  *message // of all, by when it was touched
	newest  *message
	cost    int
	now     int64
	removed []*message // gone from the queue, in that order; lines about them may still come
	names   map[string]string
	Stats   Stats
}

// Stats says how the reading went.
type Stats struct {
	Lines    int64 `json:"lines"`
	First    int64 `json:"-"` // time of the first and the last line that has one
	Last     int64 `json:"-"`
	Attempts int64 `json:"attempts"` // to deliver, as Postfix's agents logged them
	Runs     int64 `json:"mends"`    // lines of postmend
	Evicted  int64 `json:"evicted"`  // messages that were counted before their end, because memory is limited
	Notices  int64 `json:"notices"`  // made by Postfix: bounces, delay notices
	Lost     int64 `json:"lost"`     // recipients that a filter took over and that do not occur again
	Deleted  int64 `json:"deleted"`  // recipients of deferred messages that postsuper(1) deleted
}

const (
	// maxCost bounds what is kept of messages that are under way, in octets, roughly.
	maxCost = 24 << 20
	// settling is for how long lines about a message may come after "removed", in seconds: bounce(8) and
	// pipe(8) log what they did with a message while others are already at work on the next.
	settling = 10
	// maxSettling bounds how many messages wait for that.
	maxSettling = 8192
	// maxNames bounds the relay names that are kept once.
	maxNames = 4096
	// maxReason bounds what is kept of an answer, in octets.
	maxReason = 1024
)

// NewTracker makes a tracker for a log whose last line is not much later than latest. Zone is that of time
// stamps without one.
func NewTracker(latest time.Time, zone *time.Location) *Tracker {
	return &Tracker{frame: framing{clock: clock{latest: latest, zone: zone}}, seed: maphash.MakeSeed(),
		known: map[uint64]*message{}, names: map[string]string{}}
}

// NextFile prepares for another file of the same log, whose last line is not much later than latest.
func (t *Tracker) NextFile(latest time.Time) {
	t.frame = framing{clock: clock{latest: latest, zone: t.frame.clock.zone}}
}

// Until says, of a log that grows, that no line so far is much later than latest.
func (t *Tracker) Until(latest time.Time) { t.frame.clock.latest = latest }

// Line takes the next line, without its line end.
func (t *Tracker) Line(line []byte) {
	t.Stats.Lines++
	if e, ok := t.frame.parse(cut(line)); ok {
		t.take(&e)
	}
}

func (t *Tracker) take(e *entry) {
	if t.Stats.First == 0 {
		t.Stats.First = e.at
	}
	if e.at > t.now {
		t.now = e.at
		t.settle()
	}
	t.Stats.Last = max(t.Stats.Last, e.at)
	switch e.daemon {
	case smtpd, pickup:
		t.arrival(e)
	case qmgr:
		t.queued(e)
	case bounce:
		t.notice(e)
	case smtp, lmtp, pipe, deliverer:
		t.delivered(e)
	case postmend:
		t.ran(e)
	case postsuper:
		if bytes.Equal(e.text, []byte("removed")) {
			if m := t.find(e.id); m != nil && m.removedAt == 0 {
				m.deleted = true
			}
			t.remove(e)
		}
	}
}

// Idle tells that no line came up to the given time, so that what has settled is counted.
func (t *Tracker) Idle(now time.Time) {
	t.now = max(t.now, now.Unix())
	t.settle()
}

// Close counts what is still under way as it stands.
func (t *Tracker) Close() {
	for t.oldest != nil {
		t.count(t.oldest.root())
	}
	t.removed = nil
}

// arrival is a message that comes from outside this queue: "client=NAME[ADDRESS], orig_queue_id=ID,
// sasl_username=NAME" or "uid=0 from=<root>"; or one that postsuper -r has queued anew: "uid=107
// from=<alice@sender.example> orig_id=ID".
func (t *Tracker) arrival(e *entry) {
	first := map[bool]string{true: "client=", false: "uid="}[e.daemon == smtpd]
	if !bytes.HasPrefix(e.text, []byte(first)) {
		return
	}
	_, id, isRequeued := bytes.Cut(e.text, []byte("> orig_id="))
	if isRequeued = isRequeued && e.daemon == pickup && isQueueID(id); isRequeued && t.rename(id, e) {
		return
	}
	m := t.renew(e)
	m.arrived = true
	m.own = e.daemon == pickup && !isRequeued
	_, rest, _ := bytes.Cut(e.text, []byte(", "))
	for len(rest) > 0 {
		var field []byte
		field, rest, _ = bytes.Cut(rest, []byte(", "))
		if id, found := bytes.CutPrefix(field, []byte("orig_queue_id=")); found && isQueueID(id) {
			m.adopt(t.get(id))
		}
		m.own = m.own || bytes.HasPrefix(field, []byte("sasl_username="))
	}
}

// queued is what the queue manager logs: "from=<…>, size=…", "from=<…>, status=expired, returned to
// sender", or "removed".
func (t *Tracker) queued(e *entry) {
	if bytes.Equal(e.text, []byte("removed")) {
		t.remove(e)
		return
	}
	text, found := bytes.CutPrefix(e.text, []byte("from="))
	if !found {
		return
	}
	sender, rest, ok := cutAddress(text)
	if !ok {
		return
	}
	m := t.get(e.id)
	status, _ := bytes.CutPrefix(rest, []byte(", status="))
	if bytes.HasPrefix(status, []byte("expired")) || bytes.HasPrefix(status, []byte("force-expired")) {
		m.expire(e.at)
		t.announceAll(m)
	} else if !m.queued {
		m.queued = true
		m.sender = string(sender)
		t.charge(m, len(sender))
	}
}

// notice is a bounce or a delay notice that Postfix made: "sender non-delivery notification: ID".
func (t *Tracker) notice(e *entry) {
	at := bytes.LastIndex(e.text, []byte("notification: "))
	if at < 0 {
		return
	}
	if id := e.text[at+len("notification: "):]; isQueueID(id) {
		t.get(id).notice = true
	}
}

func (t *Tracker) remove(e *entry) {
	m := t.find(e.id)
	if m == nil || m.removedAt != 0 {
		return
	}
	m.removedAt = t.now
	t.removed = append(t.removed, m)
}

// delivered is an attempt to deliver.
func (t *Tracker) delivered(e *entry) {
	d, ok := parseDelivery(e.text)
	if !ok {
		return
	}
	status, ok := statusOf(d.status)
	if !ok {
		return
	}
	t.Stats.Attempts++
	m := t.get(e.id)
	m.probe = m.probe || status == Probed
	r := m.recipient(d.to, d.origTo)
	if r == nil {
		r = t.addRecipient(m, d)
	}
	if status == Deferred {
		r.deferrals++
	}
	r.status, r.agent, r.at, r.relay = status, e.daemon, e.at, t.name(relayName(d.relay))
	if status != Delivered {
		reason := d.reason[:min(len(d.reason), maxReason)]
		t.charge(m, len(reason)-len(r.reason))
		r.reason = string(reason)
		t.announce(m, r)
		return
	}
	t.passedOn(m, r, e, d)
}

// passedOn notes which message goes on where this one was handed to a filter, or was forwarded by local(8).
func (t *Tracker) passedOn(m *message, r *recipient, e *entry, d delivery) {
	if e.daemon == pipe {
		r.filtered = bytes.HasPrefix(d.reason, []byte("delivered via postmend ")) || r.relay == "postmend"
		reply := bytes.TrimSuffix(d.reason, []byte(")"))
		r.discarded = r.filtered && bytes.HasSuffix(reply, []byte(filter.Discarded))
	}
	switch {
	case e.daemon == pipe, e.daemon == smtp && isLoopback(d.relay), e.daemon == lmtp:
		for _, id := range queuedAs(d.reason) {
			if next := t.find(id); next != nil && next != m {
				next.adopt(m)
			}
		}
	case e.daemon == deliverer:
		if id, found := bytes.CutPrefix(d.reason, []byte("forwarded as ")); found && isQueueID(id) {
			t.get(id).adopt(m)
			r.passed = true
		}
	}
	if r.filtered && t.Piped != nil {
		t.Piped(transmission(d.delays))
	}
	for _, next := range m.children { // whose refusals may have had to wait for the alias
		if next.waits {
			t.announceAll(next)
		}
	}
}

// ran is postmend's own line.
func (t *Tracker) ran(e *entry) {
	t.Stats.Runs++
	run := e.run
	if t.Ran != nil && run.Seconds > 0 {
		t.Ran(run.Seconds)
	}
	m := t.get(e.id)
	if len(m.runs) < maxRuns {
		t.charge(m, runCost)
		m.runs = append(m.runs, run)
	}
	for _, id := range run.queuedAs {
		if next := t.find([]byte(id)); next != nil && next != m {
			next.adopt(m)
			next.run = run.of(id)
		}
	}
}

// runCost is what a line of postmend's takes, roughly, in octets.
const runCost = 500

// maxRuns bounds the runs that are remembered of a message; each recipient has one.
const maxRuns = 16

// statusOf reads what follows status=.
func statusOf(word []byte) (Status, bool) {
	switch string(word) {
	case "sent":
		return Delivered, true
	case "deferred", "SOFTBOUNCE":
		return Deferred, true
	case "bounced":
		return Refused, true
	case "deliverable", "undeliverable":
		return Probed, true
	}
	return Pending, false
}

// transmission is what an attempt took, of "a/b/c/d" the last two: connecting, and handing over.
func transmission(delays []byte) float64 {
	parts := bytes.Split(delays, []byte("/"))
	if len(parts) != 4 {
		return 0
	}
	connecting, _ := strconv.ParseFloat(string(parts[2]), 64)
	handing, _ := strconv.ParseFloat(string(parts[3]), 64)
	return connecting + handing
}

// relayName drops address and port of "name[address]:port".
func relayName(relay []byte) []byte {
	if bracket := bytes.IndexByte(relay, '['); bracket >= 0 {
		return relay[:bracket]
	}
	return relay
}

func isLoopback(relay []byte) bool {
	return bytes.Contains(relay, []byte("[127.")) || bytes.Contains(relay, []byte("[::1]")) ||
		bytes.Contains(relay, []byte("[private/"))
}

// name gives a name that is kept once for all who have it.
func (t *Tracker) name(b []byte) string {
	if known, found := t.names[string(b)]; found {
		return known
	}
	if len(t.names) >= maxNames {
		clear(t.names)
	}
	name := string(b)
	t.names[name] = name
	return name
}
