package filter

import (
	"errors"
	"time"

	"postmend/dkim"
	"postmend/filter/message"
	"postmend/filter/plan"
)

// facts gathers what the plan needs to know about the message.
func (f *Filter) facts(
	p *plan.Policy, env *plan.Envelope, m *message.Message, proven plan.Proof,
) (plan.Facts, error) {
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
	if err := f.learnToSign(&known, p, env, m); err != nil {
		return plan.Facts{}, err
	}
	return known, nil
}

// learnToSign finds out whether signatures would be valid, and which key seals, for mail that may get them.
func (f *Filter) learnToSign(
	known *plan.Facts, p *plan.Policy, env *plan.Envelope, m *message.Message,
) error {
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
