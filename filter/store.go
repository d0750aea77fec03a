package filter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postmend/filter/cause"
	"postmend/srs"
	"postmend/srs/store"
)

// The store of the senders behind aliases. The plan touches it no more than anything else: findSenders
// reads what the plan may need before it, keepSenders stores what it says after it.

// aliases are what a plan knows of the store.
type aliases struct {
	inUse bool
	// err is why senders cannot be stored, once there was trouble for longer than store_patience.
	err error
	// kept is what has been stored for the message.
	kept srs.Key
	read map[srs.Key]stored
}

// stored is what the store said about a key.
type stored struct {
	sender string
	err    error
}

// errStore is trouble with the store. Unlike srs.ErrUnknown, it says nothing about an alias.
var errStore = errors.New("the store failed")

func (a aliases) find(key srs.Key) (string, error) {
	if !a.inUse {
		return "", srs.ErrUnknown
	}
	said, known := a.read[key]
	if !known {
		return "", fmt.Errorf("%w: it was not asked", errStore)
	}
	return said.sender, said.err
}

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
	f.store, f.policy.stored.inUse = s, true
	return nil
}

// findSenders asks the store about those of the addresses that are aliases of ours. It costs nothing for
// other mail.
func (f *Filter) findSenders(ctx context.Context, p *policy, addresses ...string) {
	if f.store == nil || p.srs == nil {
		return
	}
	for _, address := range addresses {
		if !p.ownsSRS(address) {
			continue
		}
		_, _ = p.srs.ReverseStored(address, func(key srs.Key) (string, error) {
			sender, err := f.store.Get(ctx, key)
			if err != nil && !errors.Is(err, srs.ErrUnknown) {
				err = fmt.Errorf("%w: %w", errStore, err)
			}
			if p.stored.read == nil {
				p.stored.read = map[srs.Key]stored{}
			}
			p.stored.read[key] = stored{sender, err}
			return sender, err
		})
	}
}

// keepSenders stores the senders that a plan replaces by aliases, and gives the plan that holds then.
func (j *job) keepSenders(ctx context.Context, plan Plan) Plan {
	switch again, failure := j.store(ctx, plan.Deliveries); {
	case failure != nil:
		return Plan{Refusal: failure}
	case again:
		return j.decideAtOnce(ctx)
	}
	return plan
}

// keepEach is keepSenders for plans of their own.
func (j *job) keepEach(ctx context.Context, list []share) []share {
	for i, s := range list {
		switch again, failure := j.store(ctx, s.plan.Deliveries); {
		case failure != nil:
			list[i].plan = Plan{Refusal: failure}
		case again:
			return j.decide(ctx)
		}
	}
	return list
}

// store stores the sender behind the aliases of deliveries, so that no alias leaves whose sender is not
// stored. While there is trouble, the message is deferred for store_patience. After that, the policy does
// without aliases, and the message has to be planned again.
func (j *job) store(ctx context.Context, deliveries []Delivery) (again bool, failure *cause.Failure) {
	for _, d := range deliveries {
		if d.Alias == (srs.Key{}) || d.Alias == j.policy.stored.kept {
			continue
		}
		err := j.filter.store.Put(ctx, d.Alias, j.env.Sender)
		switch {
		case err == nil:
			j.policy.stored.kept = d.Alias
			continue
		case ctx.Err() != nil:
			return false, cause.AsFailure(ctx.Err())
		case j.filter.age(j.message).Abs() < time.Duration(j.filter.config.SRS.StorePatience):
			return false, cause.StoreFailed.Failure(err)
		}
		j.policy.stored.err = err
		return true, nil
	}
	return false, nil
}
