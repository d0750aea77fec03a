package filter

import (
	"context"
	"fmt"
	"time"

	"postmend/filter/cause"
	"postmend/filter/plan"
	"postmend/srs"
	"postmend/srs/store"
)

// The store of the senders behind aliases. The plan touches it no more than anything else: findSenders
// reads what the plan may need before it, keepSenders stores what it says after it.

// openStore prepares the store of [srs]. It touches neither files nor the network.
func (f *Filter) openStore() error {
	c := &f.config.SRS
	if c.Store == "" || c.Domain == "" {
		return nil
	}
	s, err := store.Open(c.StoreOptions(f.now))
	if err != nil {
		return fmt.Errorf("srs: store: %w", err)
	}
	f.store = s
	f.policy.UseStore()
	return nil
}

// findSenders asks the store about those of the addresses that are aliases of ours. It costs nothing for
// other mail.
func (f *Filter) findSenders(ctx context.Context, p *plan.Policy, addresses ...string) {
	if f.store == nil {
		return
	}
	for _, address := range addresses {
		p.ReadAlias(address, func(key srs.Key) (string, error) { return f.store.Get(ctx, key) })
	}
}

// keepSenders stores the senders that a plan replaces by aliases, and gives the plan that holds then.
func (j *job) keepSenders(ctx context.Context, decided plan.Plan) plan.Plan {
	switch again, failure := j.store(ctx, decided.Deliveries); {
	case failure != nil:
		return plan.Plan{Refusal: failure}
	case again:
		return j.decideAtOnce(ctx)
	}
	return decided
}

// keepEach is keepSenders for plans of their own.
func (j *job) keepEach(ctx context.Context, list []plan.Share) []plan.Share {
	for i, s := range list {
		switch again, failure := j.store(ctx, s.Plan.Deliveries); {
		case failure != nil:
			list[i].Plan = plan.Plan{Refusal: failure}
		case again:
			return j.decide(ctx)
		}
	}
	return list
}

// store stores the sender behind the aliases of deliveries, so that no alias leaves whose sender is not
// stored. While there is trouble, the message is deferred for store_patience. After that, the policy does
// without aliases, and the message has to be planned again.
func (j *job) store(ctx context.Context, deliveries []plan.Delivery) (again bool, failure *cause.Failure) {
	for _, d := range deliveries {
		if d.Alias == (srs.Key{}) || j.policy.IsStored(d.Alias) {
			continue
		}
		err := j.filter.store.Put(ctx, d.Alias, j.env.Sender)
		switch {
		case err == nil:
			j.policy.NoteStored(d.Alias)
			continue
		case ctx.Err() != nil:
			return false, cause.AsFailure(ctx.Err())
		case j.filter.age(j.message).Abs() < time.Duration(j.filter.config.SRS.StorePatience):
			return false, cause.StoreFailed.Failure(err)
		}
		j.policy.DoWithoutStore(err)
		return true, nil
	}
	return false, nil
}
