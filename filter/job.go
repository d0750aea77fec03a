package filter

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"postmend/dkim"
	"postmend/filter/authn"
	"postmend/filter/cause"
	"postmend/filter/message"
	"postmend/filter/plan"
)

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
	if j.known, err = j.facts(proven); err != nil {
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

// facts gathers what the plan needs to know about the message.
func (j *job) facts(proven plan.Proof) (plan.Facts, error) {
	f, p, env, m := j.filter, j.policy, j.env, j.message
	known := plan.Facts{
		Authors:      p.Authors(env, m),
		Oversized:    m.Oversized,
		Proven:       proven,
		Patient:      f.age(m).Abs() < time.Duration(f.config.Limits.DNSPatience),
		CameWithUTF8: m.CameWithUTF8(),
		LongestLine:  m.LongestLine,
		Mended:       f.mendedBefore(m),
		Origin:       env.Origin,
		Unsealable:   f.unsealable(),
		UnreadSealed: f.isSealedUnread(m),
		Recalled:     env.Recalled,
		Spam:         f.spamRule(m),
		Testimony:    f.testimony(m, proven),
	}
	if o := env.Origin; o != nil && o.Outside && o.Intact {
		known.Redirected = p.RedirectedFrom(m)
	}
	for _, field := range m.Header {
		if env.Recalled.Covers(field) {
			continue
		}
		known.Count(field)
		if f.claimsToBeOurs(field) {
			known.Claimed++
		}
	}
	if err := j.learnToSign(&known); err != nil {
		return plan.Facts{}, err
	}
	return known, nil
}

// learnToSign finds out whether signatures would be valid, and which key seals, for mail that may get them.
func (j *job) learnToSign(known *plan.Facts) error {
	f, p, env, m := j.filter, j.policy, j.env, j.message
	isOurs := p.IsOurs(env)
	if m.Oversized || len(f.config.DKIM.Keys) == 0 || !p.Signs(env) {
		return nil
	}
	if !isOurs && p.SealsARC() {
		known.Sealing = f.sealingKey()
	}
	if isOurs && env.Sender != "" && p.AuthorSigner(known.Authors) == "" {
		return nil
	}
	known.Unsignable = unsignable(m, f.config.MostKeys())
	if known.Unsignable != nil && !errors.Is(known.Unsignable, dkim.ErrUnsignable) {
		return known.Unsignable
	}
	return nil
}
