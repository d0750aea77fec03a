package filter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"postmend/dkim"
	"postmend/reinject"
)

// Report tells what a run did, for the log and for the status line.
type Report struct {
	queueIDs []string // under which the next hop queued the message, as far as it told
	env      *Envelope
	started  time.Time
	elapsed  time.Duration
	plan     Plan
	known    facts
	signers  []string
	sealer   string
	reasons  []Reason
	result   string
}

func newReport(env *Envelope) *Report {
	return &Report{env: env, started: time.Now()}
}

func (r *Report) planned(plan Plan, known facts) {
	r.plan, r.known = plan, known
	for _, d := range slices.Concat(plan.Deliveries, plan.Discarded) {
		if d.Class != Local && d.Class != Reversed {
			r.reasons = append(r.reasons, d.Reasons...)
		}
	}
}

func (r *Report) note(cause Cause, about ...any) {
	r.reasons = append(r.reasons, cause.about(about...))
}

func (r *Report) signed(keys []*dkim.Key) {
	for _, key := range keys {
		r.signers = append(r.signers, key.Domain+"/"+key.Selector)
	}
}

func (r *Report) sealed(key *dkim.Key) { r.sealer = key.Domain + "/" + key.Selector }

func (r *Report) handedOver(results []reinject.Result) {
	for _, result := range results {
		if result.QueueID != "" {
			r.queueIDs = append(r.queueIDs, result.QueueID)
		}
		for _, warning := range result.Warnings {
			r.note(NextHop, warning)
		}
	}
}

func (r *Report) finish(err error) {
	r.elapsed = time.Since(r.started)
	switch {
	case err == nil && len(r.plan.Deliveries) == 0:
		r.result = Discarded
		return
	case err == nil:
		r.result = "queued"
		return
	}
	failure := AsFailure(err)
	r.result = "refused"
	if failure.Temporary() {
		r.result = "deferred"
	}
	// At night, the cause is read first.
	r.reasons = slices.Insert(r.reasons, 0, Failed.about(failure.Error()))
}

// What Summary says, where maillog goes by it: Postfix logs it as the reply of pipe(8), also where postmend's own log is lost.
const (
	QueuedAs  = "queued as " // followed by queue ids, as in Postfix's own replies
	Discarded = "discarded"
)

// Summary says in a few words what became of a message that was dealt with, for the status line.
func (r *Report) Summary() string {
	if len(r.queueIDs) > 0 {
		return QueuedAs + strings.Join(r.queueIDs, " ")
	}
	if r.result == Discarded {
		return Discarded
	}
	return "handed back"
}

// maxLogValue bounds each value of the log line, in octets; syslog daemons cut lines at 1 to 8 KiB.
const maxLogValue = 512

// String is the log line: the queue id first, as in Postfix's own, then name=value pairs. Values that hold anything
// but plain characters are quoted in Go's syntax, so that a line is always one line and splits at blanks outside quotes.
func (r *Report) String() string {
	var line strings.Builder
	id := r.env.QueueID
	if id == "" {
		id = "NOQUEUE"
	}
	line.WriteString(logValue(id) + ": ")
	put := func(name, value string) {
		if value != "" {
			line.WriteString(name + "=" + logValue(value) + " ")
		}
	}
	var counts, senders []string
	newFrom := ""
	for _, d := range r.plan.Deliveries {
		counts = append(counts, fmt.Sprintf("%s:%d", d.Class, len(d.Recipients)))
		if d.Sender != r.env.Sender {
			senders = append(senders, "<"+d.Sender+">")
		}
		if d.From != "" {
			newFrom = "<" + d.From + ">"
		}
	}
	put("classes", strings.Join(counts, ","))
	put("from", "<"+r.env.Sender+">")
	put("sender", strings.Join(senders, ","))
	put("header_from", strings.Join(r.known.authors, ","))
	put("dmarc", string(r.known.proven.DMARC.Status))
	put("policy", string(r.known.proven.DMARC.Policy))
	put("new_from", newFrom)
	put("signed", strings.Join(r.signers, ","))
	put("arc", string(r.known.proven.ARC.Status))
	put("sealed", r.sealer)
	put("result", r.result)
	put("queued_as", strings.Join(r.queueIDs, ","))
	put("time", fmt.Sprintf("%.3fs", r.elapsed.Seconds()))
	codes, texts := r.because()
	put("why", strings.Join(codes, ","))
	put("notes", strings.Join(texts, "; "))
	return strings.TrimSuffix(line.String(), " ")
}

// because gives the reasons, each once: their codes, by which programs read the line, and their texts.
func (r *Report) because() (codes, texts []string) {
	for _, reason := range r.reasons {
		if code := reason.Cause.Code(); !slices.Contains(codes, code) {
			codes = append(codes, code)
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

// FailureLine is the log line of a run that ended before there was a report.
func FailureLine(env *Envelope, err error) string {
	report := newReport(env)
	report.finish(err)
	return report.String()
}
