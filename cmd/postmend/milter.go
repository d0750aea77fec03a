package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postmend/filter"
	"postmend/postfix"
	"postmend/postfix/milter"
)

func (inv *invocation) milterCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "milter",
		Short: "Judge mail at SMTP time: one milter conversation on standard input (run by spawn(8))",
		Long: `Speaks the milter protocol with smtpd(8) on standard input, which has to be a socket, until
the connection is closed.

At the end of a message from outside, it checks SPF, DKIM, ARC and DMARC. It rejects unauthenticated mail
whose From: claims a domain of this server (on_own_domain_forgery), and mail that fails DMARC if
on_dmarc_fail is "reject". Other mail gets an Authentication-Results field and a seal of its arrival,
which postmend filter believes. Fields that falsely claim to be of this server are removed from all mail.

If a message cannot be judged because of a fault on this server, it goes on as it is, and the mail log
says why. postmend serve --milter does the same, but stays resident.`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return inv.milter() },
	}
}

// milterDirectly is filterDirectly for a conversation.
func (inv *invocation) milterDirectly(args []string) bool {
	if len(args) == 0 || args[0] != "milter" {
		return false
	}
	flags := pflag.NewFlagSet("milter", pflag.ContinueOnError)
	flags.Usage = func() {}
	inv.configFlag(flags)
	if flags.Parse(args[1:]) != nil || flags.NArg() > 0 || !isSpawned(inv.stdin, inv.stdout) {
		return false
	}
	status := outcomeOf(inv.milter()).Exit()
	inv.status = &status
	return true
}

// milter holds the conversation on standard input. SIGTERM ends it behind the message that is under way.
func (inv *invocation) milter() error {
	if !isSpawned(inv.stdin, inv.stdout) {
		return usageError{errors.New("milter: standard input and output are not a socket; spawn(8) " +
			"starts it, or use postmend serve --milter")}
	}
	conn, err := inv.spawned()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	d := &door{log: syslog{socket: filter.DefaultLogSocket}}
	d.current = func() (*loaded, error) {
		if d.kept == nil {
			if d.kept, err = load(inv.configFile); err != nil {
				return nil, err
			}
			restrain(d.kept.filter)
		}
		return d.kept, nil
	}
	if err := milter.Serve(ctx, conn, d.judge); err != nil {
		d.ended(err)
	}
	return nil // spawn(8) must not complain about a connection that ended, in whatever way
}

// loaded is a configuration, ready for use.
type loaded struct {
	config *filter.Config
	filter *filter.Filter
}

func load(file string) (*loaded, error) {
	config, err := filter.LoadConfig(file)
	if err != nil {
		return nil, err
	}
	f, err := filter.New(config, filter.Options{Now: now})
	if err != nil {
		return nil, err
	}
	return &loaded{config, f}, nil
}

// door judges the messages of milter conversations.
type door struct {
	log     syslog
	current func() (*loaded, error)
	kept    *loaded // of a process for one conversation
}

// judge makes an answer for Postfix of a judgement. Whatever our own fault is, the message goes on: the
// filter judges it later.
func (d *door) judge(ctx context.Context, of *milter.Envelope, content io.Reader) (verdict milter.Verdict) {
	id := cmp.Or(postfix.Printable(of.Macro("i")), "NOQUEUE")
	defer func() {
		if fault := recover(); fault != nil {
			d.log.write(severityCritical, internalError{fmt.Sprint(fault), debug.Stack()}.logLine(id))
			verdict = milter.Verdict{}
		}
	}()
	use, err := d.current()
	if err != nil {
		d.log.write(severityError, id+": "+filter.DoorLog+"not judged: "+err.Error())
		return milter.Verdict{}
	}
	log := d.log
	log.socket = use.config.Log.Socket
	j, err := use.filter.Judge(context.WithoutCancel(ctx), arriving(of), content)
	switch {
	case errors.Is(err, milter.ErrAborted):
		return milter.Verdict{}
	case err != nil:
		log.write(severityOf(err), id+": "+filter.DoorLog+"not judged: "+err.Error())
		return milter.Verdict{}
	}
	severity := severityInfo
	if j.Refusal != nil {
		severity = severityWarning
	}
	log.write(severity, id+": "+j.Log)
	return verdictOf(j)
}

// ended logs why a conversation ended early.
func (d *door) ended(err error) {
	d.log.write(severityWarning, "NOQUEUE: "+filter.DoorLog+err.Error())
}

// arriving is the envelope of a message at SMTP time, in the form in which pipe(8) will tell it.
func arriving(of *milter.Envelope) *filter.Envelope {
	env := &filter.Envelope{
		Sender:        of.Sender,
		QueueID:       of.Macro("i"),
		ClientAddress: filter.Known(of.ClientAddress),
		HELO:          filter.Known(of.HELO),
		SASLUsername:  filter.Known(of.Macro("auth_authen")),
	}
	if name := filter.Known(of.ClientName); !strings.HasPrefix(name, "[") {
		env.ClientName = name
	}
	if of.ClientPort != 0 {
		env.ClientPort = strconv.Itoa(int(of.ClientPort))
	}
	for _, address := range of.Recipients {
		env.Recipients = append(env.Recipients, filter.Recipient{Address: address})
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
func replyOf(f *filter.Failure) string {
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
