package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"postmend/postfix/maillog"
	"postmend/postfix/maillog/present"
)

// writeEvery is how often the files are rewritten while a log is followed.
const writeEvery = 15 * time.Second

// follow reads existing entries silently, and then prints each refusal as it is logged, until a signal
// ends it. Then it prints the report.
func (r *reporter) follow(logs []string) error {
	path := logs[len(logs)-1]
	if len(logs) > 1 {
		files, err := maillog.Files(logs[:len(logs)-1], time.Local)
		if err != nil {
			return readable(err)
		}
		if err := r.read(files); err != nil {
			return err
		}
	}
	r.tracker.NextFile(time.Now())
	signalled, done := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer done()
	ctx, stop := context.WithCancelCause(signalled)
	defer stop(nil)
	l := &live{reporter: r, stop: stop}
	tail := maillog.Tail{Tracker: r.tracker, CaughtUp: l.caughtUp}
	var err error
	if path == "-" {
		err = tail.Stream(ctx, r.inv.stdin)
	} else {
		err = tail.File(ctx, path)
	}
	if err != nil {
		return readable(err)
	}
	if signalled.Err() == nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.tracker.Close()
	return r.show()
}

// live is a report on a log that is followed.
type live struct {
	*reporter
	written time.Time
	failed  error // to write files; printed once
	stop    context.CancelCauseFunc
}

func (l *live) caughtUp() {
	if l.tracker.Refusal == nil {
		l.tracker.Refusal = l.tell
	}
	l.tracker.Idle(time.Now())
	if time.Since(l.written) < writeEvery {
		return
	}
	l.written = time.Now()
	err := l.writeFiles(l.tally.Report(l.tracker.Stats, l.top))
	if err != nil && l.failed == nil {
		fmt.Fprintln(l.inv.stderr, "postmend: "+firstLine(err.Error()))
	}
	l.failed = err
}

// tell prints a line about a refusal.
func (l *live) tell(o *maillog.Outcome) {
	if o.Kind != maillog.Forwarded || !l.tally.IsCounted(o.At) {
		return
	}
	title := l.rules.Classes[l.tally.Judge(o).Class].Title
	_, err := fmt.Fprintln(l.inv.stdout, present.Refusal(o, title, l.tally.Receiver(o)))
	if err != nil { // nobody reads on
		l.stop(err)
	}
}
