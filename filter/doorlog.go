package filter

import (
	"fmt"
	"strings"
	"time"
)

// doorLog gathers what the log says of a message at the door.
type doorLog struct {
	env      *Envelope
	isOwn    bool
	unread   bool // the header was too long
	isLeft   bool // to the filter
	unsealed error
	known    *facts // nil if the message was not judged
	started  time.Time
}

// DoorLog begins what the milter logs of a message, behind the queue id: the line is not one of the filter.
const DoorLog = "milter: "

// line has the same names as the filter's line, as far as they mean the same.
func (l *doorLog) line(j *Judgement) string {
	var line strings.Builder
	line.WriteString(DoorLog)
	put := func(name, value string) {
		if value != "" {
			line.WriteString(name + "=" + logValue(value) + " ")
		}
	}
	put("client", l.env.ClientAddress)
	put("from", "<"+l.env.Sender+">")
	if l.known != nil {
		proven := l.known.proven
		put("header_from", strings.Join(l.known.authors, ","))
		put("spf", string(proven.SPF.Status))
		put("dmarc", string(proven.DMARC.Status))
		put("policy", string(proven.DMARC.Policy))
		put("arc", string(proven.ARC.Status))
	}
	if n := len(j.Remove); n > 0 {
		put("removed", fmt.Sprint(n))
	}
	put("result", l.result(j))
	put("time", fmt.Sprintf("%.3fs", time.Since(l.started).Seconds()))
	switch {
	case j.Refusal != nil:
		put("why", j.Refusal.Cause.Code())
		put("notes", j.Refusal.Error())
	case l.unread:
		put("notes", "the header is too long to be read: not judged")
	case l.unsealed != nil:
		put("why", ArrivalUnsealed.Code())
		put("notes", ArrivalUnsealed.about(l.unsealed).Text)
	}
	return strings.TrimSuffix(line.String(), " ")
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
