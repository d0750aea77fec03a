package filter

import (
	"context"
	"slices"

	"postmend/filter/authn"
	"postmend/filter/plan"
)

// decide plans for each recipient of a message that has been examined.
func (j *job) decide(ctx context.Context) []plan.Share { return j.decideBy(ctx, j.policy.OwnShares) }

func (j *job) decideBy(
	ctx context.Context, shares func(*plan.Envelope, plan.Facts) []plan.Share,
) []plan.Share {
	list := shares(j.env, j.known)
	if slices.ContainsFunc(list, func(s plan.Share) bool { return s.Plan.Refusal == plan.WantTransit }) {
		j.askTransit(ctx)
		list = shares(j.env, j.known)
	}
	return list
}

// decideAtOnce plans for all recipients together. Hand-overs are few: if one of several fails at its very
// end, the others have left, and all are tried again.
func (j *job) decideAtOnce(ctx context.Context) plan.Plan {
	list := j.decideBy(ctx, j.policy.Shares)
	decided := j.policy.ForOneStatus(j.env, j.known, list)
	if decided.Refusal == plan.WantTransit {
		j.askTransit(ctx)
		decided = j.policy.ForOneStatus(j.env, j.known, list)
	}
	return decided
}

// askTransit looks up whether SPF allows this host, because the plan depends on it.
func (j *job) askTransit(ctx context.Context) {
	if j.resolver == nil {
		j.resolver = authn.New(j.filter.config.Resolver)
	}
	queries := j.policy.TransitQueries(j.env, j.known)
	j.known.Proven.Transit = j.filter.askTransit(ctx, j.resolver, queries)
}
