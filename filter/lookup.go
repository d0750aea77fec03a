package filter

import (
	"context"
	"time"
)

// Forward decides, as for mail that is forwarded, which sender takes the place of another; "" and the reason
// if it stays.
func (f *Filter) Forward(sender string) (rewritten, why string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(f.config.Limits.Deadline))
	defer cancel()
	policy, err := f.policyFor(ctx, &Envelope{Recipients: []Recipient{{Address: sender}}})
	if err != nil {
		return "", "", err
	}
	d := Delivery{Sender: sender}
	if failure := policy.rewriteSender(&d, &Envelope{Sender: sender}); failure != nil {
		return "", "", failure
	}
	if d.Sender == sender {
		return "", d.Reasons[0].Text, nil
	}
	return d.Sender, "", nil
}

// Reverse gives the original sender behind an SRS address of ours; "" and the reason if there is none. Only
// what has the form of such an address needs the secrets.
func (f *Filter) Reverse(recipient string) (original, why string, err error) {
	if !f.policy.ownsSRS(recipient) {
		return "", "not an SRS address of this server", nil
	}
	original, failure := f.policy.reverse(recipient)
	switch {
	case failure == nil:
		return original, "", nil
	case failure.Kind == NoSuchUser:
		return "", failure.Reason, nil
	}
	return "", "", failure
}
