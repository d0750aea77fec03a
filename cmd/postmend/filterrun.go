package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"postmend/cmd/postmend/outcome"
	"postmend/cmd/postmend/syslog"
	"postmend/filter"
	"postmend/filter/cause"
	"postmend/filter/config"
	"postmend/filter/plan"
	"postmend/postfix"
	"postmend/reinject"
)

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
