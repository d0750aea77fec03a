package filter

import (
	"context"
	"slices"

	"postmend/filter/authn"
	"postmend/filter/config"
	"postmend/filter/domain"
)

// Each recipient has an outcome of its own, the one that it would have alone. Recipients with the same
// outcome share a hand-over, so that the message is signed once for all of them. LMTP reports each outcome;
// pipe(8) has one status for all, see policy.forOneStatus.

// share is the plan for recipients that have the same outcome: at most one delivery, discarded or not, or a
// Refusal.
type share struct {
	recipients []int // indices of Envelope.Recipients
	plan       Plan
}

// shares plans for all recipients of an envelope, with as few hand-overs as can be.
func (p *policy) shares(env *Envelope, msg facts) (list []share) {
	for _, group := range p.kindred(env, msg) {
		list = append(list, p.share(env, msg, group))
	}
	return list
}

// ownShares is shares where each hand-over has a status of its own: then each recipient gets the message that
// it would get alone.
func (p *policy) ownShares(env *Envelope, msg facts) (list []share) {
	for _, s := range p.shares(env, msg) {
		if !s.isPersonal(env) {
			list = append(list, s)
			continue
		}
		for _, recipients := range bySight(env, s.recipients, s.plan.Deliveries[0].Class == Local) {
			list = append(list, p.share(env, msg, recipients))
		}
	}
	return list
}

func (p *policy) share(env *Envelope, msg facts, recipients []int) share {
	part := *env
	part.Recipients = nil
	for _, i := range recipients {
		part.Recipients = append(part.Recipients, env.Recipients[i])
	}
	return share{recipients, p.plan(&part, msg)}
}

// kind is what recipients have in common that the plan treats alike.
type kind struct {
	class     Class
	mungeFrom config.MungeMode // "" where From: is not touched
	fromSpam  bool             // see facts.cameFromSpam
}

func (p *policy) kindOf(env *Envelope, msg facts, r Recipient) kind {
	k := kind{class: p.classify(env, r)}
	if k.class == Forwarded || k.class == Bounce {
		k.mungeFrom, k.fromSpam = p.mungeModeFor(r), msg.cameFromSpam(r)
	}
	return k
}

// kindred groups the recipients that the plan treats alike: those of a kind, of it those that mail is sealed
// for. Each SRS address that is not valid stands alone.
func (p *policy) kindred(env *Envelope, msg facts) (groups [][]int) {
	type group struct {
		kind
		sealed bool
	}
	found := map[group]int{} // index in groups
	for i, r := range env.Recipients {
		if p.ownsSRS(r.Address) {
			if _, err := p.reverse(r.Address); err != nil {
				groups = append(groups, []int{i})
				continue
			}
		}
		k := group{kind: p.kindOf(env, msg, r)}
		if k.class == Forwarded || k.class == Bounce {
			k.sealed = p.sealFor == nil || p.sealFor.Has(domain.Of(r.Address))
		}
		n, known := found[k]
		if !known {
			n = len(groups)
			found[k] = n
			groups = append(groups, nil)
		}
		groups[n] = append(groups[n], i)
	}
	return groups
}

// isPersonal tells whether the message would say more to each recipient if it left for each alone: a
// rewritten From: names the alias, and a seal of arrival the mailbox.
func (s share) isPersonal(env *Envelope) bool {
	if len(s.plan.Deliveries) == 0 || len(s.plan.Deliveries[0].Recipients) < 2 {
		return false
	}
	d := s.plan.Deliveries[0]
	first := env.Recipients[s.recipients[0]].Original
	differs := func(i int) bool { return env.Recipients[i].Original != first }
	return d.From != "" && slices.ContainsFunc(s.recipients, differs) ||
		d.Arrival == SealAdded || d.Arrival == SealRenewed
}

// bySight groups recipients by what they may learn of each other: their alias, and the mailbox if alone is
// set.
func bySight(env *Envelope, recipients []int, alone bool) (groups [][]int) {
	found := map[string]int{}
	for _, i := range recipients {
		n, known := found[env.Recipients[i].Original]
		if !known || alone {
			n = len(groups)
			found[env.Recipients[i].Original] = n
			groups = append(groups, nil)
		}
		groups[n] = append(groups[n], i)
	}
	return groups
}

// forOneStatus is the plan if all recipients have one exit status. If their outcomes are of one kind, it is
// that. If some of the mail could leave now and some not, nothing of it leaves (a status of "deferred" for
// all would send twice what has left); if some is rejected, what policy.plan does for the sake of the
// others.
func (p *policy) forOneStatus(env *Envelope, msg facts, list []share) Plan {
	var whole Plan
	refused := 0
	for _, s := range list {
		whole.Deliveries = append(whole.Deliveries, s.plan.Deliveries...)
		whole.Discarded = append(whole.Discarded, s.plan.Discarded...)
		switch failure := s.plan.Refusal; {
		case failure == nil:
			continue
		case whole.Refusal == nil || failure.Temporary() && !whole.Refusal.Temporary():
			whole.Refusal = failure
		}
		refused++
	}
	switch {
	case refused == 0:
		classOf := func(d Delivery) Class { return d.Class }
		sortByClass(whole.Deliveries, classOf)
		sortByClass(whole.Discarded, classOf)
		return whole
	case refused == len(list) || whole.Refusal.Temporary():
		return Plan{Refusal: whole.Refusal}
	}
	return p.plan(env, msg)
}

func sortByClass[T any](list []T, class func(T) Class) {
	slices.SortStableFunc(list, func(a, b T) int {
		return slices.Index(classes[:], class(a)) - slices.Index(classes[:], class(b))
	})
}

// decide plans for each recipient of a message that has been examined.
func (j *job) decide(ctx context.Context) []share { return j.decideBy(ctx, j.policy.ownShares) }

func (j *job) decideBy(ctx context.Context, plan func(*Envelope, facts) []share) []share {
	list := plan(j.env, j.known)
	if slices.ContainsFunc(list, func(s share) bool { return s.plan.Refusal == wantTransit }) {
		j.askTransit(ctx)
		list = plan(j.env, j.known)
	}
	return list
}

// decideAtOnce plans for all recipients together. Hand-overs are few: if one of several fails at its very
// end, the others have left, and all are tried again.
func (j *job) decideAtOnce(ctx context.Context) Plan {
	list := j.decideBy(ctx, j.policy.shares)
	plan := j.policy.forOneStatus(j.env, j.known, list)
	if plan.Refusal == wantTransit {
		j.askTransit(ctx)
		plan = j.policy.forOneStatus(j.env, j.known, list)
	}
	return plan
}

// askTransit looks up whether SPF allows this host, because the plan depends on it.
func (j *job) askTransit(ctx context.Context) {
	if j.resolver == nil {
		j.resolver = authn.New(j.filter.config.Resolver)
	}
	queries := j.policy.transitQueries(j.env, j.known)
	j.known.proven.transit = j.filter.askTransit(ctx, j.resolver, queries)
}
