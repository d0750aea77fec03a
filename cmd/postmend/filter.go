package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postmend/cmd/postmend/outcome"
	"postmend/cmd/postmend/syslog"
	"postmend/filter"
	"postmend/filter/cause"
	"postmend/filter/config"
	"postmend/filter/plan"
	"postmend/postfix"
	"postmend/reinject"
)

// envelopeFlags defines the flags that carry pipe(8)'s macros and gives the function that reads them.
func envelopeFlags(flags *pflag.FlagSet) func(recipients []string) (*plan.Envelope, error) {
	var env plan.Envelope
	var originals []string
	var size string
	flags.StringVarP(&env.Sender, "sender", "f", "", "envelope sender, empty for the null sender (${sender})")
	flags.StringVar(&env.QueueID, "queue-id", "", "Postfix's queue id (${queue_id})")
	flags.StringVar(&env.ClientAddress, "client-address", "", "the SMTP client's address (${client_address})")
	flags.StringVar(&env.ClientName, "client-name", "", "the client's host name (${client_hostname})")
	flags.StringVar(&env.ClientPort, "client-port", "", "the client's port (${client_port})")
	flags.StringVar(&env.ClientProtocol, "client-protocol", "", "SMTP or ESMTP (${client_protocol})")
	flags.StringVar(&env.HELO, "helo", "", "the client's name in HELO or EHLO (${client_helo})")
	flags.StringVar(&env.SASLUsername, "sasl-username", "", "the name by which the user logged in "+
		"(${sasl_username})")
	flags.StringVar(&env.ID, "envid", "", "the envelope id of delivery reports (${envid}, Postfix 3.9 and "+
		"later)")
	flags.StringVar(&size, "size", "", "the message's size in octets (${size})")
	flags.StringArrayVar(&originals, "original-recipient", nil,
		"the address before aliases were expanded (${original_recipient}): one for each recipient, in the "+
			"same order, or one for all of them")
	return func(recipients []string) (*plan.Envelope, error) {
		if n := len(originals); n > 1 && n != len(recipients) {
			return nil, outcome.Misused(fmt.Errorf("--original-recipient is given %d times, for %s: give "+
				"one for each recipient, or one for all", n, postfix.Counted(len(recipients), "recipient")))
		}
		for i, address := range recipients {
			r := plan.Recipient{Address: address}
			if len(originals) > 0 {
				r.Original = plan.Known(originals[min(i, len(originals)-1)])
			}
			env.Recipients = append(env.Recipients, r)
		}
		for _, value := range []*string{&env.QueueID, &env.ClientAddress, &env.ClientName, &env.ClientPort,
			&env.ClientProtocol, &env.HELO, &env.SASLUsername, &env.ID} {
			*value = plan.Known(*value)
		}
		if size = plan.Known(size); size != "" {
			var err error
			if env.Size, err = strconv.ParseInt(size, 10, 64); err != nil || env.Size < 0 {
				return nil, outcome.Misused(fmt.Errorf("--size %q is not a number of octets", size))
			}
		}
		return &env, nil
	}
}

func (inv *invocation) filterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "filter -f SENDER [flags] -- RECIPIENT...",
		Short: "Mend the message on standard input and hand it back (run by pipe(8))",
		Long: `Reads one message from standard input, mends it for the recipients, hands it to the
configured target, and ends with a status line on standard output and an exit status for Postfix's
pipe(8).

The flags carry macros of pipe(8), here in parentheses. An empty value, or "unknown", means that Postfix
does not know it. If it knows nothing of a client, the message comes from this host.`,
		Example: `  postmend filter -f alice@example.net -- bob@example.com < message`,
	}
	envelope := envelopeFlags(cmd.Flags())
	cmd.RunE = func(_ *cobra.Command, recipients []string) error {
		env, err := envelope(recipients)
		if err != nil {
			return err
		}
		inv.filter(env)
		return nil
	}
	return cmd
}

// filterDirectly runs a plain call from master.cf without the tree of all commands, which would cost every
// message more than parsing its flags. It is false for any other call; the tree then reports what is wrong
// with it.
func (inv *invocation) filterDirectly(args []string) bool {
	if len(args) == 0 || args[0] != "filter" {
		return false
	}
	flags := inv.bareFlags("filter")
	envelope := envelopeFlags(flags)
	if flags.Parse(args[1:]) != nil {
		return false
	}
	env, err := envelope(flags.Args())
	if err != nil {
		return false
	}
	inv.filter(env)
	return true
}

// bareFlags are the flags of a command without the tree.
func (inv *invocation) bareFlags(name string) *pflag.FlagSet {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.Usage = func() {}
	inv.configFlag(flags)
	return flags
}

// abandon ends the process while the pipeline hangs; a variable for tests.
var abandon = os.Exit

// filter runs the pipeline on one message, and makes sure that there is a status line in time, whatever
// happens.
func (inv *invocation) filter(env *plan.Envelope) {
	r := &filterRun{invocation: inv, env: env, log: inv.log(), guard: &guard{start: time.Now()}}
	line, err := r.run()
	r.guard.end()
	inv.exit(r.conclude(line, err))
}

// filterRun is the run for one message.
type filterRun struct {
	*invocation
	env    *plan.Envelope
	config *config.Config // nil until it is read
	log    syslog.Log
	guard  *guard
}

// allow gives the run time for its next step; if it takes longer, the run ends with a status line.
func (r *filterRun) allow(limit time.Duration, next string) context.Context {
	late := *r // a copy, because the run may go on changing r
	return r.guard.allow(limit, func() {
		abandon(late.conclude(nil, fmt.Errorf("%s: %w", next, context.DeadlineExceeded)))
	})
}

func (r *filterRun) run() (*filter.LogLine, error) {
	r.allow(config.DefaultDeadline, "reading "+r.configFile)
	settings, err := config.Load(r.configFile)
	if err != nil {
		return nil, err
	}
	r.config, r.log.Socket = settings, settings.Log.Socket
	return r.runPipeline(r.allow(time.Duration(settings.Limits.Deadline), "before the hand-over"))
}

// runPipeline makes an error of a panic.
func (r *filterRun) runPipeline(ctx context.Context) (line *filter.LogLine, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			line, err = nil, outcome.FaultOf(fault)
		}
	}()
	if err := r.refuseStdout(); err != nil {
		return nil, err
	}
	f, err := filter.New(r.config, filter.Options{Now: now, Stdout: r.stdout, Commit: r.commit})
	if err != nil {
		return nil, err
	}
	restrain(f)
	return f.Run(ctx, r.env, r.stdin)
}

// commit allows the hand-over if the caller still waits for it, and gives its end more time than the
// deadline.
func (r *filterRun) commit() (context.Context, error) {
	if isForsaken(parent, os.Getppid(), r.env.QueueID, r.stdout) {
		return nil, cause.Forsaken.Failure(nil)
	}
	return r.allow(postfix.LongestRun(time.Duration(r.config.Limits.Deadline)),
		"waiting for the next hop to take the message"), nil
}

// restrain confines the process before it reads the message; main sets it, because a process cannot undo it.
var restrain = func(*filter.Filter) {}

// refuseStdout rejects the target for trials by hand under pipe(8), which would read the message as our
// status line and take it for delivered. pipe(8) is known by the queue id, and by one pipe for standard
// output and standard error.
func (r *filterRun) refuseStdout() error {
	if !toStdout(r.config) || r.env.QueueID == "" || !isSameFile(r.stdout, r.stderr) {
		return nil
	}
	return cause.StdoutTarget.Failure(nil)
}

// toStdout tells whether standard output carries the message.
func toStdout(c *config.Config) bool {
	target, err := reinject.ParseTarget(c.Reinject.Target)
	return err == nil && target.Scheme == reinject.Stdout
}

// conclude writes the log line, then the status line.
func (r *filterRun) conclude(line *filter.LogLine, err error) int {
	if fault, ok := errors.AsType[outcome.Fault](err); ok {
		r.log.Write(syslog.Critical, fault.LogLine(r.env.QueueID))
		return postfix.Faulty.Write(r.stdout, "", "internal error")
	}
	if line != nil {
		r.log.Write(outcome.Severity(err), line.String())
	} else {
		r.log.Write(outcome.Severity(err), filter.FailureLine(r.env, err))
	}
	lines := r.stdout
	if r.config != nil && toStdout(r.config) {
		lines = r.stderr // standard output carries the message
	}
	if err == nil {
		return postfix.Delivered.Write(lines, "", line.Summary())
	}
	failure := cause.AsFailure(err)
	return outcome.Of(err).Write(lines, failure.Code, failure.Status())
}
