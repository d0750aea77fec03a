package filter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"

	"postmend/filter/cause"
	"postmend/filter/plan"
	"postmend/reinject"
)

// Outcome is what became of a message for one recipient.
type Outcome struct {
	// Err is nil if the message was handed back, or discarded as configured; else a *cause.Failure.
	Err *cause.Failure
	// Summary says in a few words what became of a message that was dealt with.
	Summary string
}

// RunEach is Run with an outcome for each recipient, in their order. The outcome of one does not depend on
// the others. Commit is called before each final hand-over, as Options.Commit is by Run. There is a log
// line for each outcome that differs.
func (f *Filter) RunEach(
	ctx context.Context, env *plan.Envelope, stdin io.Reader, commit reinject.Commit,
) ([]Outcome, []*LogLine) {
	n := len(env.Recipients)
	e := &each{filter: f, env: env, commit: commit, outcomes: make([]Outcome, n), done: make([]bool, n)}
	if err := e.run(ctx, stdin); err != nil {
		rest := e.unfinished()
		log := newLogLine(env)
		e.settle(rest, log, err)
	}
	return e.outcomes, e.logs
}

// each is one call of RunEach.
type each struct {
	filter   *Filter
	env      *plan.Envelope
	commit   reinject.Commit
	outcomes []Outcome
	done     []bool
	logs     []*LogLine
}

func (e *each) run(ctx context.Context, stdin io.Reader) (err error) {
	defer func() { // the process serves other messages, too
		if fault := recover(); fault != nil {
			err = &cause.Failure{Reason: "internal error", Err: fmt.Errorf("%v: %s", fault, debug.Stack())}
		}
	}()
	j, err := e.filter.examine(ctx, e.env, stdin)
	if err != nil {
		return err
	}
	defer j.message.Close()
	for _, s := range j.keepEach(ctx, j.decide(ctx)) {
		log := newLogLine(e.env)
		log.planned(s.Plan, j.known)
		switch {
		case s.Plan.Refusal != nil:
			e.settle(s.Recipients, log, j.env.Refusal(s.Plan.Refusal))
		case len(s.Plan.Deliveries) == 0: // discarded
			e.settle(s.Recipients, log, j.env.Discarded())
		default:
			e.handOver(ctx, j, s, log)
		}
	}
	return nil
}

// maxRefused bounds the recipients of a message that the next hop may refuse one after the other: each costs
// another connection. With more, those that remain are deferred together.
const maxRefused = 20

// handOver hands a delivery over. A recipient that the next hop refuses gets an outcome of its own, and the
// others another try: nothing was handed over before.
func (e *each) handOver(ctx context.Context, j *job, s plan.Share, log *LogLine) {
	recipients := s.Recipients
	tries := 0
	transactions, err := j.transactions(s.Plan, log)
	for err == nil {
		var results []reinject.Result
		results, err = e.filter.reinjector.Send(ctx, clientOf(e.env), e.commit, transactions)
		refused, isRefusal := errors.AsType[*reinject.Error](err)
		if !isRefusal {
			log.handedOver(results)
			break
		}
		n, others := refused.OfOne()
		if tries++; !others || tries > maxRefused {
			err = handOverFailure(err)
			break
		}
		alone := newLogLine(e.env)
		alone.planned(plan.Plan{}, j.known)
		e.settle(recipients[n:n+1], alone, handOverFailure(refused.Alone()))
		recipients = slices.Delete(slices.Clone(recipients), n, n+1)
		tx := &transactions[0]
		tx.Recipients = slices.Delete(slices.Clone(tx.Recipients), n, n+1)
		err = nil
	}
	e.settle(recipients, log, err)
}

// settle gives recipients their outcome.
func (e *each) settle(recipients []int, log *LogLine, err error) {
	log.finish(err)
	e.logs = append(e.logs, log)
	outcome := Outcome{Summary: log.Summary()}
	if err != nil {
		outcome = Outcome{Err: cause.AsFailure(err)}
	}
	for _, i := range recipients {
		e.outcomes[i], e.done[i] = outcome, true
	}
}

// unfinished are the recipients without an outcome.
func (e *each) unfinished() (list []int) {
	for i, done := range e.done {
		if !done {
			list = append(list, i)
		}
	}
	return list
}
