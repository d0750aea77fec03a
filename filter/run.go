package filter

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"postmend/dkim"
	"postmend/filter/authn"
	"postmend/filter/cause"
	"postmend/filter/message"
	"postmend/filter/plan"
)

// Run takes one message from stdin to its end: handed back, or a *Failure. The log line is complete in both
// cases.
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
	transactions, err := f.transactions(env, j.message, decided, j.known, log)
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

// job is a message that was read and authenticated.
type job struct {
	filter   *Filter
	env      *plan.Envelope // with the origin of mail of our own side
	message  *message.Message
	policy   *plan.Policy
	known    plan.Facts
	resolver *authn.Resolver // nil if the message needed no look-up: it reads resolv.conf(5)
}

// examine reads the message and authenticates it if that matters. Unless there is an error, the caller closes
// the message.
func (f *Filter) examine(ctx context.Context, env *plan.Envelope, stdin io.Reader) (*job, error) {
	if err := env.Check(); err != nil {
		return nil, err
	}
	policy, tableErr := f.policyFor(ctx, env)
	for _, r := range env.Recipients {
		f.findSenders(ctx, &policy, r.Address, cmp.Or(r.Original, r.Claimed))
	}
	policy.Route(env)
	makesSeal := env.Goes(plan.ToLocal) && !policy.IsOurs(env)
	m, err := f.read(stdin, env.QueueID != "", f.hashesBody(makesSeal))
	if err != nil {
		return nil, err
	}
	readQueueID(env, m)
	env = f.readLogin(env, m)
	j := &job{filter: f, env: env, message: m, policy: &policy}
	if f.loops(env, m) {
		tableErr = f.loop(env)
	}
	if err = tableErr; err == nil {
		err = j.learn(ctx)
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return j, nil
}

// learn finds out what the plan needs to know.
func (j *job) learn(ctx context.Context) (err error) {
	if j.env, err = j.filter.trace(j.policy, j.env, j.message); err != nil {
		return err
	}
	var proven plan.Proof
	if j.policy.NeedsProof(j.env, j.message) {
		j.resolver = authn.New(j.filter.config.Resolver)
		if proven, err = j.filter.prove(ctx, j.resolver, j.env, j.message); err != nil {
			return err
		}
	}
	if j.known, err = j.filter.facts(j.policy, j.env, j.message, proven); err != nil {
		return err
	}
	if j.policy.MayRewriteUnproved() && !j.known.Authentic() && !j.policy.IsOurs(j.env) {
		j.known.LocalAuthor = j.filter.isLocalAuthor(ctx, j.known.Authors)
	}
	return nil
}

func (f *Filter) read(
	stdin io.Reader, fromPostfix bool, hashBody func(dkim.Header) bool,
) (*message.Message, error) {
	limits := f.config.Limits
	options := message.Options{Memory: int64(limits.MemorySpool), Dir: limits.SpoolDir, HashBody: hashBody}
	m, err := message.Read(stdin, options)
	if err != nil {
		return nil, err
	}
	if err := checkWhole(m, fromPostfix); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// checkWhole detects a message that is not as pipe(8) writes it, or that is cut short. pipe(8) always ends
// the last line, and writes in blocks, which end anywhere. A block can also end with a line: so the guard
// checks before the hand-over that our caller still runs.
func checkWhole(m *message.Message, fromPostfix bool) error {
	if m.Size() == 0 {
		return cause.MessageEmpty.Failure(nil)
	}
	if !fromPostfix {
		return nil
	}
	last, err := m.LastOctet()
	switch {
	case err != nil:
		return err
	case last != '\n':
		return cause.MessageCut.Failure(nil, m.Size())
	case m.HasFromLine():
		// Fields that we add would stand above this line, so that the header would become part of the body.
		return cause.FromLine.Failure(nil)
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
