// Package tally adds up what became of messages: by class of refusal, by the sender's domain, by receiver,
// by alias, and over time. Its memory is bounded, however many domains a log names.
package tally

import (
	"cmp"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"postmend/filter/cause"
	"postmend/filter/domain/publicsuffix"
	"postmend/postfix/maillog"
	"postmend/postfix/maillog/refusal"
)

// Tally counts. New makes one.
type Tally struct {
	// Since and Until bound what is counted, in Unix seconds; 0 is no bound.
	Since, Until int64

	rules     *refusal.Rules
	kinds     map[maillog.Kind]*Counts
	classes   []classCount
	domains   *table
	receivers *table
	aliases   *table
	remedies  map[remedyKey]*remedy
	over      *series
	pipe, run histogram
	unfit     Unfit
	strict    map[string]*strictDomain
	operators map[string]string // relay or recipient domain → receiver
	answers   map[answer]refusal.Verdict
}

// Counts are of recipients.
type Counts struct {
	Delivered int64 `json:"delivered"`
	Deferred  int64 `json:"deferred"` // still in the queue
	Refused   int64 `json:"refused"`
	Discarded int64 `json:"discarded"`
	Attempts  int64 `json:"put_off"` // postponed attempts
}

func (c *Counts) add(o *maillog.Outcome) {
	c.Attempts += int64(o.Deferrals)
	switch o.Status {
	case maillog.Delivered:
		c.Delivered++
	case maillog.Deferred:
		c.Deferred++
	case maillog.Refused:
		c.Refused++
	case maillog.Discarded:
		c.Discarded++
	}
}

// Unfit counts recipients of forwards whose sender does not fit into an SRS address.
type Unfit struct {
	Aliases int64 `json:"aliases"` // the sender was replaced by an alias
	Kept    int64 `json:"kept"`    // the sender stayed, because there is no store, or because it failed
}

// Add counts a recipient of a forward by what postmend logged; nil is nothing.
func (u *Unfit) Add(r *maillog.Run) {
	switch {
	case r == nil:
	case r.Has(cause.SenderStored):
		u.Aliases++
	case r.Has(cause.SenderTooLong), r.Has(cause.SenderRouted), r.Has(cause.SenderNotStored):
		u.Kept++
	}
}

type classCount struct {
	refused, deferred int64
	examples          []string
}

type answer struct{ text, host string }

type strictDomain struct {
	n        int64
	last     int64
	receiver string
}

const (
	// maxExamples is how many answers are shown of a class.
	maxExamples = 3
	// maxUnknown is how many answers are shown that no rule knows.
	maxUnknown = 10
	// maxAnswers bounds the answers whose class is remembered.
	maxAnswers = 2048
	// maxOperators bounds the relays whose receiver is remembered.
	maxOperators = 4096
	// maxStrict bounds the domains for [dmarc] force_munge_file.
	maxStrict = 4096
)

// New makes an empty tally.
func New(rules *refusal.Rules) *Tally {
	classes := len(rules.Classes)
	return &Tally{
		rules:     rules,
		kinds:     map[maillog.Kind]*Counts{},
		classes:   make([]classCount, classes),
		domains:   newTable(classes),
		receivers: newTable(classes),
		aliases:   newTable(classes),
		remedies:  map[remedyKey]*remedy{},
		over:      newSeries(classes),
		strict:    map[string]*strictDomain{},
		operators: map[string]string{},
		answers:   map[answer]refusal.Verdict{},
	}
}

// Add counts what became of a recipient. Only what was forwarded goes into the tables; the rest is counted
// by kind.
func (t *Tally) Add(o *maillog.Outcome) {
	if !t.IsCounted(o.At) {
		return
	}
	kind := t.kinds[o.Kind]
	if kind == nil {
		kind = &Counts{}
		t.kinds[o.Kind] = kind
	}
	kind.add(o)
	if o.Kind != maillog.Forwarded {
		return
	}
	t.unfit.Add(o.Run)
	class := -1
	if o.Status == maillog.Refused || o.Status == maillog.Deferred {
		class = t.classify(o)
	}
	sender := cmp.Or(maillog.Domain(o.Sender), "<>")
	receiver := t.Receiver(o)
	t.domains.add(sender, o, class)
	t.receivers.add(receiver, o, class)
	if o.Alias != "" {
		t.aliases.add(strings.ToLower(o.Alias), o, class)
	}
	t.over.add(o, class)
}

// IsCounted tells whether a time lies within Since and Until.
func (t *Tally) IsCounted(at int64) bool {
	return (t.Since == 0 || at >= t.Since) && (t.Until == 0 || at < t.Until)
}

// classify counts a refusal, or a deferral that stands, under its class.
func (t *Tally) classify(o *maillog.Outcome) int {
	verdict := t.Judge(o)
	count := &t.classes[verdict.Class]
	if o.Status == maillog.Refused {
		count.refused++
	} else {
		count.deferred++
	}
	most := maxExamples
	if t.rules.Classes[verdict.Class].Name == refusal.Other {
		most = maxUnknown
	}
	if len(count.examples) < most && !slices.Contains(count.examples, o.Reason) {
		count.examples = append(count.examples, o.Reason)
	}
	t.prescribe(o, verdict)
	if o.Status == maillog.Refused && t.isStrict(o, verdict) {
		t.noteStrict(o)
	}
	return verdict.Class
}

// Judge gives the class of a refusal or deferral. Refusals by postmend itself need no rule.
func (t *Tally) Judge(o *maillog.Outcome) refusal.Verdict {
	if o.ByFilter {
		return t.rules.ByName(refusal.Own)
	}
	key := answer{o.Reason, o.Relay}
	verdict, known := t.answers[key]
	if !known {
		verdict = t.rules.Classify(o.Reason, o.Relay)
		if len(t.answers) >= maxAnswers {
			clear(t.answers)
		}
		t.answers[key] = verdict
	}
	return verdict
}

// Receiver names who took or refused a message: the organisation of the host that answered, or the
// recipient's if none did.
func (t *Tally) Receiver(o *maillog.Outcome) string {
	if o.ByFilter {
		return "this host"
	}
	host := o.Relay
	if host == "" || net.ParseIP(host) != nil || !strings.Contains(host, ".") {
		host = maillog.Domain(o.Recipient)
	}
	receiver, known := t.operators[host]
	if !known {
		lower := strings.ToLower(strings.TrimSuffix(host, "."))
		receiver = lower
		if domain, ok := publicsuffix.Registered(lower); ok {
			receiver = domain
		}
		if len(t.operators) >= maxOperators {
			clear(t.operators)
		}
		t.operators[host] = receiver
	}
	return cmp.Or(receiver, "unknown")
}

// isStrict tells whether rewriting From: would have helped: From: stayed, and the message had passed DMARC
// on arrival. It does not count where the configuration forbids rewriting, which the list of domains does
// not overrule.
func (t *Tally) isStrict(o *maillog.Outcome, verdict refusal.Verdict) bool {
	if o.Run == nil || o.Run.NewFrom != "" || o.Run.DMARC != "pass" || o.Run.Has(cause.FromForbidden) {
		return false
	}
	name := t.rules.Classes[verdict.Class].Name
	return name == "dmarc" || name == "alignment"
}

func (t *Tally) noteStrict(o *maillog.Outcome) {
	domain := o.Run.HeaderFrom
	if domain == "" || strings.Contains(domain, ",") {
		return
	}
	s := t.strict[domain]
	if s == nil {
		if len(t.strict) >= maxStrict {
			return
		}
		s = &strictDomain{}
		t.strict[domain] = s
	}
	s.n++
	s.last, s.receiver = max(s.last, o.At), t.Receiver(o)
}

// Piped counts the time of a hand-over to postmend.
func (t *Tally) Piped(at int64, seconds float64) {
	if t.IsCounted(at) {
		t.pipe.add(seconds)
	}
}

// Ran counts the time of a run, as postmend logs it.
func (t *Tally) Ran(at int64, seconds float64) {
	if t.IsCounted(at) {
		t.run.add(seconds)
	}
}

// Strict is a domain for [dmarc] force_munge_file.
type Strict struct {
	Domain   string    `json:"domain"`
	Refused  int64     `json:"refused"`
	Last     time.Time `json:"last"`
	Receiver string    `json:"receiver"`
}

// Strict gives the author domains that were refused for DMARC although From: was left alone and the
// message had passed on arrival.
func (t *Tally) Strict() []Strict {
	var list []Strict
	for _, domain := range slices.Sorted(maps.Keys(t.strict)) {
		s := t.strict[domain]
		list = append(list, Strict{domain, s.n, time.Unix(s.last, 0), s.receiver})
	}
	slices.SortStableFunc(list, func(a, b Strict) int { return cmp.Compare(b.Refused, a.Refused) })
	return list
}
