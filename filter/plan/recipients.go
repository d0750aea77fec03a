package plan

import (
	"slices"

	"postmend/filter/config"
	"postmend/filter/domain"
)

// Each recipient has an outcome of its own, the one that it would have alone. Recipients with the same
// outcome share a hand-over, so that the message is signed once for all of them. LMTP reports each outcome;
// pipe(8) has one status for all, see Policy.ForOneStatus.

// Share is the plan for recipients that have the same outcome: at most one delivery, discarded or not, or a
// Refusal.
type Share struct {
	Recipients []int // indices of Envelope.Recipients
	Plan       Plan
}

// Shares plans for all recipients of an envelope, with as few hand-overs as can be.
func (p *Policy) Shares(env *Envelope, msg Facts) (list []Share) {
	for _, group := range p.kindred(env, msg) {
		list = append(list, p.share(env, msg, group))
	}
	return list
}

// OwnShares is shares where each hand-over has a status of its own: then each recipient gets the message that
// it would get alone.
func (p *Policy) OwnShares(env *Envelope, msg Facts) (list []Share) {
	for _, s := range p.Shares(env, msg) {
		if !s.isPersonal(env) {
			list = append(list, s)
			continue
		}
		for _, recipients := range bySight(env, s.Recipients, s.Plan.Deliveries[0].Class == Local) {
			list = append(list, p.share(env, msg, recipients))
		}
	}
	return list
}

func (p *Policy) share(env *Envelope, msg Facts, recipients []int) Share {
	part := *env
	part.Recipients = nil
	for _, i := range recipients {
		part.Recipients = append(part.Recipients, env.Recipients[i])
	}
	return Share{recipients, p.plan(&part, msg)}
}

// kind is what recipients have in common that the plan treats alike.
type kind struct {
	class     Class
	mungeFrom config.MungeMode // "" where From: is not touched
	fromSpam  bool             // see Facts.cameFromSpam
}

func (p *Policy) kindOf(env *Envelope, msg Facts, r Recipient) kind {
	k := kind{class: p.classify(env, r)}
	if k.class == Forwarded || k.class == Bounce {
		k.mungeFrom, k.fromSpam = p.mungeModeFor(r), msg.cameFromSpam(r)
	}
	return k
}

// kindred groups the recipients that the plan treats alike: those of a kind, of it those that mail is sealed
// for. Each SRS address that is not valid stands alone.
func (p *Policy) kindred(env *Envelope, msg Facts) (groups [][]int) {
	type group struct {
		kind
		sealed bool
	}
	found := map[group]int{} // index in groups
	for i, r := range env.Recipients {
		if p.OwnsSRS(r.Address) {
			if _, err := p.Reverse(r.Address); err != nil {
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
func (s Share) isPersonal(env *Envelope) bool {
	if len(s.Plan.Deliveries) == 0 || len(s.Plan.Deliveries[0].Recipients) < 2 {
		return false
	}
	d := s.Plan.Deliveries[0]
	first := env.Recipients[s.Recipients[0]].Original
	differs := func(i int) bool { return env.Recipients[i].Original != first }
	return d.From != "" && slices.ContainsFunc(s.Recipients, differs) ||
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

// ForOneStatus is the plan if all recipients have one exit status. If their outcomes are of one kind, it is
// that. If some of the mail could leave now and some not, nothing of it leaves (a status of "deferred" for
// all would send twice what has left); if some is rejected, what Policy.plan does for the sake of the
// others.
func (p *Policy) ForOneStatus(env *Envelope, msg Facts, list []Share) Plan {
	var whole Plan
	refused := 0
	for _, s := range list {
		whole.Deliveries = append(whole.Deliveries, s.Plan.Deliveries...)
		whole.Discarded = append(whole.Discarded, s.Plan.Discarded...)
		switch failure := s.Plan.Refusal; {
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
