package maillog

import (
	"hash/maphash"
	"slices"
)

// message is one queue file.
type message struct {
	id         string
	key        uint64
	sender     string
	recipients []recipient
	index      map[string]int // of recipients, where they are many: by address, and by address and alias
	parent     *message
	children   []*message
	runs       []*Run // of the runs that this message went through
	run        *Run   // of the run that made this message

	arrived   bool // its arrival was seen
	own       bool // submitted on this host, or by a user who logged in
	queued    bool
	notice    bool // made by Postfix: a bounce, or a delay notice
	probe     bool // Postfix verified an address by it
	waits     bool // a refusal has not been announced yet
	removedAt int64
	settled   bool
	deleted   bool // by hand, with what was still deferred

	cost         int
	older, newer *message
	first        [1]recipient // most messages have one
}

// recipient is one of a message, and how the last attempt went.
type recipient struct {
	to, original string
	relay        string
	reason       string
	status       Status
	agent        daemon
	at           int64
	deferrals    int
	expired      bool
	filtered     bool // handed to postmend
	discarded    bool // by postmend
	passed       bool // goes on as another message
	announced    bool
}

// messageCost and recipientCost are what these take beside their texts, roughly.
const (
	messageCost   = 450
	recipientCost = 200
	// maxDepth bounds the passes through filters.
	maxDepth = 16
)

// find gives a message that is under way, or nil.
func (t *Tracker) find(id []byte) *message { return t.known[maphash.Bytes(t.seed, id)] }

// get gives the message of that id; a new one if none is under way.
func (t *Tracker) get(id []byte) *message {
	key := maphash.Bytes(t.seed, id)
	m := t.known[key]
	if m == nil {
		m = &message{id: string(id), key: key}
		t.known[key] = m
		t.charge(m, messageCost)
		t.append(m)
		for t.cost > maxCost && t.oldest != m {
			t.evict()
		}
		return m
	}
	if m != t.newest {
		t.detach(m)
		t.append(m)
	}
	return m
}

// renew gives a new message. If one of the same id is under way, it has ended: ids are reused.
func (t *Tracker) renew(e *entry) *message {
	if m := t.find(e.id); m != nil && (m.arrived || m.removedAt != 0 || len(m.recipients) > 0) {
		t.count(m.root())
	}
	return t.get(e.id)
}

// rename gives a message that is under way the id that it has from now on; false if there is none.
func (t *Tracker) rename(was []byte, e *entry) bool {
	m := t.find(was)
	if m == nil {
		return false
	}
	if other := t.find(e.id); other != nil && other != m {
		t.count(other.root())
		if t.find(was) != m {
			return false
		}
	}
	delete(t.known, m.key)
	m.id, m.key = string(e.id), maphash.Bytes(t.seed, e.id)
	m.removedAt, m.settled, m.deleted = 0, false, false
	t.known[m.key] = m
	return true
}

func (t *Tracker) charge(m *message, octets int) {
	m.cost += octets
	t.cost += octets
}

func (t *Tracker) append(m *message) {
	m.older, m.newer = t.newest, nil
	if t.newest != nil {
		t.newest.newer = m
	} else {
		t.oldest = m
	}
	t.newest = m
}

func (t *Tracker) detach(m *message) {
	if m.older != nil {
		m.older.newer = m.newer
	} else {
		t.oldest = m.newer
	}
	if m.newer != nil {
		m.newer.older = m.older
	} else {
		t.newest = m.older
	}
	m.older, m.newer = nil, nil
}

// evict makes room: the family of the message that was touched longest ago is counted as it stands.
func (t *Tracker) evict() {
	if m := t.oldest.root(); m.worthCounting() {
		t.Stats.Evicted++
	}
	t.count(t.oldest.root())
}

func (m *message) worthCounting() bool { return m.queued || len(m.recipients) > 0 }

// settle counts the families that have left the queue, when no more lines about them are to be expected.
func (t *Tracker) settle() {
	n := 0
	for ; n < len(t.removed); n++ {
		m := t.removed[n]
		if m.removedAt+settling > t.now && len(t.removed)-n <= maxSettling {
			break
		}
		m.settled = true
		if t.known[m.key] == m {
			if root := m.root(); root.isOver() {
				t.count(root)
			}
		}
		t.removed[n] = nil
	}
	t.removed = t.removed[n:]
}

// isOver tells whether a family is at its end.
func (m *message) isOver() bool {
	if !m.settled {
		return false
	}
	for _, child := range m.children {
		if !child.isOver() {
			return false
		}
	}
	return true
}

func (m *message) root() *message {
	for m.parent != nil {
		m = m.parent
	}
	return m
}

// adopt makes m a child of parent, unless it has one, or the log would have it be its own ancestor.
func (m *message) adopt(parent *message) {
	if m.parent != nil || parent.root() == m {
		return
	}
	depth := m.height()
	for p := parent; p != nil; p = p.parent {
		depth++
	}
	if depth > maxDepth {
		return
	}
	m.parent = parent
	parent.children = append(parent.children, m)
	for _, run := range parent.runs {
		if slices.Contains(run.queuedAs, m.id) {
			m.run = run.of(m.id)
		}
	}
}

func (m *message) height() int {
	height := 0
	for _, child := range m.children {
		height = max(height, child.height())
	}
	return height + 1
}

// few is how many recipients are searched one by one, without an index.
const few = 16

// recipient gives the one of that address and alias, or nil.
func (m *message) recipient(to, original []byte) *recipient {
	if m.index != nil {
		if n, found := m.index[string(to)+"\x00"+string(original)]; found {
			return &m.recipients[n]
		}
		return nil
	}
	for n := range m.recipients {
		if r := &m.recipients[n]; r.to == string(to) && r.original == string(original) {
			return r
		}
	}
	return nil
}

func (t *Tracker) addRecipient(m *message, d delivery) *recipient {
	t.charge(m, recipientCost+len(d.to)+len(d.origTo))
	if m.recipients == nil {
		m.recipients = m.first[:0]
	}
	m.recipients = append(m.recipients, recipient{to: string(d.to), original: string(d.origTo)})
	switch {
	case m.index != nil:
		m.enter(len(m.recipients) - 1)
	case len(m.recipients) > few:
		m.index = map[string]int{}
		for n := range m.recipients {
			m.enter(n)
		}
	}
	return &m.recipients[len(m.recipients)-1]
}

func (m *message) enter(n int) {
	r := &m.recipients[n]
	if _, found := m.index[r.to]; !found {
		m.index[r.to] = n
	}
	m.index[r.to+"\x00"+r.original] = n
}

// via gives the recipient of m that led to the recipient to of a child, or nil.
func (m *message) via(to string) *recipient {
	if n, found := m.index[to]; found {
		return &m.recipients[n]
	}
	for n := range min(len(m.recipients), few) {
		if r := &m.recipients[n]; r.to == to || isSRS(r.to) && originalSender(r.to) == to {
			return r
		}
	}
	if len(m.recipients) == 1 { // the second pass has expanded an alias
		return &m.recipients[0]
	}
	return nil
}

// expire notes that the queue manager gave up: there are no more attempts for recipients that are deferred.
func (m *message) expire(at int64) {
	for n := range m.recipients {
		if r := &m.recipients[n]; r.status == Deferred {
			r.status, r.expired, r.at = Refused, true, at
		}
	}
}

// lastRun is the run that did not hand the message back.
func (m *message) lastRun() *Run {
	if len(m.runs) == 0 {
		return nil
	}
	return m.runs[len(m.runs)-1]
}
