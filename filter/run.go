package filter

import (
	"context"
	"fmt"
	"io"

	"postmend/filter/cause"
	"postmend/filter/message"
	"postmend/filter/plan"
)

// Run takes one message from stdin to its end: handed back, or a *cause.Failure. The log line is complete in
// both cases.
func (f *Filter) Run(ctx context.Context, env *plan.Envelope, stdin io.Reader) (*LogLine, error) {
	log := newLogLine(env)
	err := f.run(ctx, env, stdin, log)
	log.finish(err)
	return log, err
}

func (f *Filter) run(ctx context.Context, env *plan.Envelope, stdin io.Reader, log *LogLine) error {
	j, err := f.examine(ctx, env, stdin)
	if err != nil {
		return err
	}
	defer j.message.Close()
	if short := shortfall(j.message, env.Size); short != "" {
		log.note(cause.CutShort, short)
	}
	decided := j.keepSenders(ctx, j.decideAtOnce(ctx))
	log.planned(decided, j.known)
	if decided.Refusal != nil {
		return decided.Refusal
	}
	transactions, err := j.transactions(decided, log)
	if err != nil {
		return err
	}
	results, err := f.reinjector.Send(ctx, clientOf(env), f.commit, transactions)
	log.handedOver(results)
	if err != nil {
		return handOverFailure(err)
	}
	return nil
}

// shortfall is a note for the log if the queue file has much more than came. It proves nothing: the size of
// the queue file includes what a milter has deleted, and the overhead of records, one octet more for each
// line.
func shortfall(m *message.Message, size int64) string {
	const slack = 1024
	if size <= 2*m.Size()+slack {
		return ""
	}
	return fmt.Sprintf("received %d octets, but the queue file has %d", m.Size(), size)
}
