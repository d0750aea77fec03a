package filter

import (
	"fmt"
	"strings"
	"time"

	"postmend/filter/cause"
	"postmend/filter/plan"
)

// doorLog gathers what the log says of a message at the door.
type doorLog struct {
	env      *plan.Envelope
	isOwn    bool
	unread   bool // the header was too long
	isLeft   bool // to the filter
	unsealed error
	known    *plan.Facts // nil if the message was not judged
	started  time.Time
}

// DoorLog begins what the milter logs of a message, behind the queue id: the line is not one of the filter.
const DoorLog = "milter: "

// line has the same names as the filter's line, as far as they mean the same.
func (l *doorLog) line(j *Judgement) string {
	var line logPairs
	line.WriteString(DoorLog)
	line.put("client", l.env.ClientAddress)
	line.put("from", "<"+l.env.Sender+">")
	if l.known != nil {
		proven := l.known.Proven
		line.put("header_from", strings.Join(l.known.Authors, ","))
		line.put("spf", string(proven.SPF.Status))
		line.put("dmarc", string(proven.DMARC.Status))
		line.put("policy", string(proven.DMARC.Policy))
		line.put("arc", string(proven.ARC.Status))
	}
	if n := len(j.Remove); n > 0 {
		line.put("removed", fmt.Sprint(n))
	}
	line.put("result", l.result(j))
	line.put("time", fmt.Sprintf("%.3fs", time.Since(l.started).Seconds()))
	switch {
	case j.Refusal != nil:
		line.put("why", j.Refusal.Cause.Code())
		line.put("notes", j.Refusal.Error())
	case l.unread:
		line.put("notes", "the header is too long to be read: not judged")
	case l.unsealed != nil:
		line.put("why", cause.ArrivalUnsealed.Code())
		line.put("notes", cause.ArrivalUnsealed.About(l.unsealed).Text)
	}
	return line.done()
}

func (l *doorLog) result(j *Judgement) string {
	switch {
	case j.Refusal != nil && j.Refusal.Temporary():
		return "deferred"
	case j.Refusal != nil:
		return "refused"
	case l.unread:
		return "unread"
	case l.isOwn:
		return "own"
	case l.isLeft:
		return "left"
	}
	return "judged"
}
