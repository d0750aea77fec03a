package filter

import (
	"context"
	"io"

	"postmend/dkim"
	"postmend/filter/authn"
	"postmend/filter/cause"
	"postmend/filter/plan"
)

// Explain plans for a message and its envelope, and changes nothing.
func (f *Filter) Explain(ctx context.Context, env *plan.Envelope, stdin io.Reader) (*Explanation, error) {
	j, err := f.examine(ctx, env, stdin)
	if err != nil {
		return nil, err
	}
	defer j.message.Close()
	decided := j.decideAtOnce(ctx)
	known := j.known
	e := &Explanation{Envelope: env, Authors: known.Authors, Unread: known.Oversized,
		Proven: known.Proven.Results, Origin: known.Origin.Shown(), Plan: decided}
	if decided.Refusal == nil { // a key of the plan may be unusable
		_, err := j.transactions(decided, newLogLine(env))
		if err != nil {
			decided.Refusal = cause.AsFailure(err)
		}
	}
	if decided.Refusal != nil {
		e.Refusal, e.Temporary = decided.Refusal.Error(), decided.Refusal.Temporary()
	}
	return e, nil
}

// Explanation is a plan with what it was made from.
type Explanation struct {
	Envelope *plan.Envelope   `json:"envelope"`
	Authors  []string         `json:"from_domains"`
	Unread   bool             `json:"unread,omitempty"` // the header was too long to look for them
	Proven   authn.Results    `json:"arrived"`
	Origin   plan.ShownOrigin `json:"origin"` // of mail of our own side
	plan.Plan
	// Refusal says why there is no hand-over; Temporary, that the message would stay in the queue.
	Refusal   string `json:"refusal,omitempty"`
	Temporary bool   `json:"temporary,omitempty"`
}

// Verify gives the Authentication-Results field for a message and its envelope, and where the message came
// from by the seal of its arrival.
func (f *Filter) Verify(
	ctx context.Context, env *plan.Envelope, stdin io.Reader,
) (string, plan.ShownOrigin, error) {
	m, err := f.read(stdin, env.QueueID != "", f.hashesBody(false))
	if err != nil {
		return "", plan.ShownOrigin{}, err
	}
	defer m.Close()
	if env, err = f.trace(&f.policy, env, m); err != nil {
		return "", plan.ShownOrigin{}, err
	}
	proven, err := f.prove(ctx, authn.New(f.config.Resolver), env, m)
	return string(f.authenticationResults(proven.Results)), env.Origin.Shown(), err
}

// authenticationResults is the field of RFC 8601.
func (f *Filter) authenticationResults(proven authn.Results) dkim.Field {
	return dkim.Field("Authentication-Results: " + authn.Format(f.config.Hostname, proven) + "\r\n")
}
