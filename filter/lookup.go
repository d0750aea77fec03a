package filter

import (
	"context"
	"errors"
	"time"

	"postmend/filter/cause"
	"postmend/filter/plan"
	"postmend/srs"
)

// Forward decides, as for mail that is forwarded, which sender takes the place of another; "" and the reason
// if it stays. The sender behind an alias is stored.
func (f *Filter) Forward(sender string) (rewritten, why string, err error) {
	ctx, cancel := f.context()
	defer cancel()
	policy, err := f.policyFor(ctx, &plan.Envelope{Recipients: []plan.Recipient{{Address: sender}}})
	if err != nil {
		return "", "", err
	}
	s, failure := policy.SenderFor(sender)
	switch {
	case failure != nil:
		return "", "", failure
	case s.Address == "":
		return "", s.Why.Text, nil
	}
	return s.Address, "", f.keepSender(ctx, s.Alias, sender)
}

// Reverse gives the original sender behind an SRS address of ours; "" and the reason if there is none. Only
// what has the form of such an address needs the secrets.
func (f *Filter) Reverse(recipient string) (original, why string, err error) {
	if !f.policy.OwnsSRS(recipient) {
		return "", "not an SRS address of this server", nil
	}
	original, failure := f.reverse(recipient)
	switch {
	case failure == nil:
		return original, "", nil
	case failure.Kind == cause.NoSuchUser:
		return "", failure.Reason, nil
	}
	return "", "", failure
}

func (f *Filter) reverse(recipient string) (string, *cause.Failure) {
	ctx, cancel := f.context()
	defer cancel()
	policy := f.policy
	f.findSenders(ctx, &policy, recipient)
	return policy.Reverse(recipient)
}

func (f *Filter) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Duration(f.config.Limits.Deadline))
}

// SRSAddress gives the SRS address or the alias that a sender gets if mail from it is forwarded, wherever its
// domain is. The sender behind an alias is stored.
func (f *Filter) SRSAddress(sender string) (string, error) {
	if failure := f.policy.CheckSRS(); failure != nil {
		return "", failure
	}
	if sender == "" {
		return "", nil
	}
	ctx, cancel := f.context()
	defer cancel()
	s := f.policy.SRSForm(sender)
	if s.Address == "" {
		return "", errors.New(s.Why.Text)
	}
	return s.Address, f.keepSender(ctx, s.Alias, sender)
}

// SRSOriginal is Reverse with an error for what is not a valid SRS address of this server.
func (f *Filter) SRSOriginal(address string) (string, error) {
	if failure := f.policy.CheckSRS(); failure != nil {
		return "", failure
	}
	original, failure := f.reverse(address)
	if failure != nil && !f.policy.OwnsSRS(address) {
		return "", failure.Err
	}
	if failure != nil {
		return "", failure
	}
	return original, nil
}

// keepSender stores the sender behind an alias; a zero key is none.
func (f *Filter) keepSender(ctx context.Context, alias srs.Key, sender string) error {
	if alias == (srs.Key{}) {
		return nil
	}
	if err := f.store.Put(ctx, alias, sender); err != nil {
		return cause.StoreFailed.Failure(err)
	}
	return nil
}
