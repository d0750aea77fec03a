package serve

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"

	"postmend/cmd/postmend/outcome"
	"postmend/cmd/postmend/syslog"
	"postmend/filter"
	"postmend/filter/cause"
	"postmend/filter/plan"
	"postmend/postfix"
	"postmend/postfix/milter"
)

// Milter holds one conversation of the milter protocol. Its configuration is read when there is a message,
// and again when its files have changed: a sender decides how long a conversation lasts. When ctx ends, the
// conversation ends behind the message that is under way.
func Milter(ctx context.Context, conn net.Conn, o Options) {
	r := &Resident{Options: o, handsNothingOver: true}
	d := &door{log: o.Log, current: func() (*loaded, error) {
		if r.use.Load() != nil {
			return r.current(), nil
		}
		if err := r.load(); err != nil {
			return nil, err
		}
		o.Confine(r.use.Load().filter)
		return r.use.Load(), nil
	}}
	if err := milter.Serve(ctx, conn, d.judge); err != nil {
		d.ended(err)
	}
}

// milter serves milter conversations.
func (r *Resident) milter(ctx context.Context, listener net.Listener) error {
	d := &door{log: r.Log, current: func() (*loaded, error) { return r.current(), nil }}
	return (&milter.Server{Judge: d.judge, Ended: d.ended}).Serve(ctx, listener)
}

// door judges the messages of milter conversations.
type door struct {
	log     syslog.Log
	current func() (*loaded, error)
}

// judge makes an answer for Postfix of a judgement. Whatever our own fault is, the message goes on: the
// filter judges it later.
func (d *door) judge(ctx context.Context, of *milter.Envelope, content io.Reader) (verdict milter.Verdict) {
	id := cmp.Or(postfix.Printable(of.Macro("i")), "NOQUEUE")
	env := arriving(of)
	var use *loaded // nil until there is one
	defer func() {
		if fault := recover(); fault != nil {
			d.log.Write(syslog.Critical, outcome.FaultOf(fault).LogLine(id))
			verdict = milter.Verdict{}
			if use != nil {
				verdict = verdictOf(use.filter.Unjudged(env))
			}
		}
	}()
	use, err := d.current()
	if err != nil {
		d.log.Write(syslog.Error, id+": "+filter.DoorLog+"not judged: "+err.Error())
		return milter.Verdict{}
	}
	log := d.log
	log.Socket = use.config.Log.Socket
	j, err := use.filter.Judge(context.WithoutCancel(ctx), env, content)
	switch {
	case errors.Is(err, milter.ErrAborted):
		return milter.Verdict{}
	case err != nil:
		log.Write(outcome.Severity(err), id+": "+filter.DoorLog+"not judged: "+err.Error())
		return verdictOf(use.filter.Unjudged(env))
	}
	severity := syslog.Info
	if j.Refusal != nil {
		severity = syslog.Warning
	}
	log.Write(severity, id+": "+j.Log)
	return verdictOf(j)
}

// ended logs why a conversation ended early.
func (d *door) ended(err error) {
	d.log.Write(syslog.Warning, "NOQUEUE: "+filter.DoorLog+err.Error())
}

// arriving is the envelope of a message at SMTP time, in the form in which pipe(8) will tell it.
func arriving(of *milter.Envelope) *plan.Envelope {
	env := &plan.Envelope{
		Sender:        of.Sender,
		QueueID:       of.Macro("i"),
		ClientAddress: plan.Known(of.ClientAddress),
		HELO:          plan.Known(of.HELO),
		SASLUsername:  plan.Known(of.Macro("auth_authen")),
	}
	if name := plan.Known(of.ClientName); !strings.HasPrefix(name, "[") {
		env.ClientName = name
	}
	if of.ClientPort != 0 {
		env.ClientPort = strconv.Itoa(int(of.ClientPort))
	}
	for _, address := range of.Recipients {
		env.Recipients = append(env.Recipients, plan.Recipient{Address: address})
	}
	return env
}

// verdictOf turns a judgement into the words of the protocol.
func verdictOf(j filter.Judgement) milter.Verdict {
	var v milter.Verdict
	if f := j.Refusal; f != nil {
		v.Reply = replyOf(f)
		return v
	}
	for _, at := range j.Remove {
		v.Delete = append(v.Delete, milter.Position{Name: at.Name, N: at.N})
	}
	for _, field := range j.Add {
		v.Insert = append(v.Insert,
			milter.Field{Name: field.Name(), Value: strings.TrimSpace(string(field.Value()))})
	}
	return v
}

// maxReply bounds the text of a reply, in octets (RFC 5321 section 4.5.3.1.5: 512 with code and line end).
const maxReply = 450

// replyOf is the SMTP reply of a refusal. A percent sign would be read as the start of something.
func replyOf(f *cause.Failure) string {
	code, reply := f.Code, "550"
	switch {
	case f.Temporary():
		reply, code = "451", cmp.Or(code, "4.3.0")
	case strings.HasPrefix(code, "5.6."):
		reply = "554"
	}
	text := strings.ReplaceAll(postfix.Printable(f.Reason), "%", "?")
	return reply + " " + cmp.Or(code, "5.7.1") + " " + text[:min(len(text), maxReply)]
}
