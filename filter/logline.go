package filter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"postmend/dkim"
	"postmend/filter/cause"
	"postmend/filter/plan"
	"postmend/reinject"
)

// LogLine is what a run did, for the log and for the status line. Run makes one for each message.
type LogLine struct {
	queueIDs []string // under which the next hop queued the message, as far as it told
	env      *plan.Envelope
	started  time.Time
	elapsed  time.Duration
	plan     plan.Plan
	known    plan.Facts
	signers  []string
	sealer   string
	reasons  []cause.Reason
	result   string
	failure  error
}

func newLogLine(env *plan.Envelope) *LogLine {
	return &LogLine{env: env, started: time.Now()}
}

func (l *LogLine) planned(decided plan.Plan, known plan.Facts) {
	l.plan, l.known = decided, known
	for _, d := range slices.Concat(decided.Deliveries, decided.Discarded) {
		for _, reason := range d.Reasons {
			if d.Class != plan.Local && d.Class != plan.Reversed ||
				reason.Cause == cause.ArrivalUnsealed || reason.Cause == cause.SpamRedirected {
				l.reasons = append(l.reasons, reason)
			}
		}
	}
}

func (l *LogLine) note(why cause.Cause, about ...any) {
	l.reasons = append(l.reasons, why.About(about...))
}

func (l *LogLine) signed(keys []*dkim.Key) {
	for _, key := range keys {
		l.signers = append(l.signers, key.Domain+"/"+key.Selector)
	}
}

func (l *LogLine) sealed(key *dkim.Key) { l.sealer = key.Domain + "/" + key.Selector }

func (l *LogLine) handedOver(results []reinject.Result) {
	for _, result := range results {
		if result.QueueID != "" {
			l.queueIDs = append(l.queueIDs, result.QueueID)
		}
		for _, warning := range result.Warnings {
			l.note(cause.NextHop, warning)
		}
	}
}

// Err is the failure that the line tells of; nil if the message was dealt with.
func (l *LogLine) Err() error { return l.failure }

func (l *LogLine) finish(err error) {
	l.failure = err
	l.elapsed = time.Since(l.started)
	switch {
	case err == nil && len(l.plan.Deliveries) == 0:
		l.result = Discarded
		return
	case err == nil:
		l.result = "queued"
		return
	}
	failure := cause.AsFailure(err)
	l.result = "refused"
	if failure.Temporary() {
		l.result = "deferred"
	}
	// At night, the cause is read first.
	first := cause.Reason{Cause: cause.Failed, Why: failure.Cause, Text: failure.Error()}
	l.reasons = slices.Insert(l.reasons, 0, first)
}

// What Summary says, where maillog goes by it: Postfix logs it as the reply of pipe(8), also where postmend's
// own log is lost.
const (
	QueuedAs  = "queued as " // followed by queue ids, as in Postfix's own replies
	Discarded = "discarded"
)

// Summary says in a few words what became of a message that was dealt with, for the status line.
func (l *LogLine) Summary() string {
	if len(l.queueIDs) > 0 {
		return QueuedAs + strings.Join(l.queueIDs, " ")
	}
	if l.result == Discarded {
		return Discarded
	}
	return "handed back"
}

// logPairs is a log line that is being written.
type logPairs struct{ strings.Builder }

// put adds name=value, unless the value is empty.
func (p *logPairs) put(name, value string) {
	if value != "" {
		p.WriteString(name + "=" + logValue(value) + " ")
	}
}

func (p *logPairs) done() string { return strings.TrimSuffix(p.String(), " ") }

// maxLogValue bounds each value of the log line, in octets; syslog daemons cut lines at 1 to 8 KiB.
const maxLogValue = 512

// String is the log line: the queue id first, as in Postfix's own, then name=value logPairs. Values that hold
// anything but plain characters are quoted in Go's syntax, so that a line is always one line and splits at
// blanks outside quotes.
func (l *LogLine) String() string {
	var line logPairs
	id := l.env.QueueID
	if id == "" {
		id = "NOQUEUE"
	}
	line.WriteString(logValue(id) + ": ")
	var counts, senders []string
	newFrom := ""
	for _, d := range l.plan.Deliveries {
		counts = append(counts, fmt.Sprintf("%s:%d", d.Class, len(d.Recipients)))
		if d.Sender != l.env.Sender {
			senders = append(senders, "<"+d.Sender+">")
		}
		if d.From != "" {
			newFrom = "<" + d.From + ">"
		}
	}
	line.put("classes", strings.Join(counts, ","))
	line.put("from", "<"+l.env.Sender+">")
	line.put("sender", strings.Join(senders, ","))
	if origin := l.known.Origin.Shown(); origin.Sealed {
		line.put("origin", "sealed")
		line.put("client", origin.Client)
	}
	line.put("header_from", strings.Join(l.known.Authors, ","))
	line.put("dmarc", string(l.known.Proven.DMARC.Status))
	line.put("policy", string(l.known.Proven.DMARC.Policy))
	line.put("new_from", newFrom)
	line.put("signed", strings.Join(l.signers, ","))
	line.put("arc", string(l.known.Proven.ARC.Status))
	line.put("sealed", l.sealer)
	line.put("result", l.result)
	line.put("queued_as", strings.Join(l.queueIDs, ","))
	line.put("time", fmt.Sprintf("%.3fs", l.elapsed.Seconds()))
	codes, texts := l.because()
	line.put("why", strings.Join(codes, ","))
	line.put("notes", strings.Join(texts, "; "))
	return line.done()
}

// because gives the reasons, each once: their codes, by which programs read the line, and their texts.
func (l *LogLine) because() (codes, texts []string) {
	for _, reason := range l.reasons {
		for _, named := range [...]cause.Cause{reason.Cause, reason.Why} {
			if code := named.Code(); code != "" && !slices.Contains(codes, code) {
				codes = append(codes, code)
			}
		}
		if !slices.Contains(texts, reason.Text) {
			texts = append(texts, reason.Text)
		}
	}
	return codes, texts
}

// logValue bounds a value and quotes it if it needs to be.
func logValue(value string) string {
	if len(value) > maxLogValue {
		value = value[:maxLogValue] + "..."
	}
	plain := func(r rune) bool { return r > ' ' && r < 0x7f && r != '"' && r != '\\' }
	if strings.IndexFunc(value, func(r rune) bool { return !plain(r) }) < 0 {
		return value
	}
	return fmt.Sprintf("%+q", value)
}

// FailureLine is the log line of a run that ended before Run.
func FailureLine(env *plan.Envelope, err error) string {
	log := newLogLine(env)
	log.finish(err)
	return log.String()
}
