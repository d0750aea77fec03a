// Package plan decides what happens to a message: for each recipient a class, and for each delivery a sender,
// a From:, signatures, or a rejection. The plan is a pure function of the envelope, of what the message
// proves, and of the configuration: whatever has to be looked up has been before, and nothing is decided
// after it.
package plan

import (
	"cmp"

	"postmend/filter/cause"
	"postmend/filter/message"
	"postmend/srs"
)

// Class is the kind of a recipient; see the table in docs/flow.md.
type Class string

// The classes, in the order in which a plan lists them.
const (
	// Reversed: a valid SRS address of ours, turned back into the original sender's.
	Reversed Class = "reversed"
	// Local: delivered here; handed back unchanged.
	Local Class = "local"
	// Outgoing: mail of our own side to a remote recipient.
	Outgoing Class = "outgoing"
	// Bounce: the null sender, to a remote recipient.
	Bounce Class = "bounce"
	// Forwarded: mail from outside that goes on to a remote recipient.
	Forwarded Class = "forwarded"
)

var classes = [...]Class{Reversed, Local, Outgoing, Bounce, Forwarded}

// Plan is what will be done with a message, and why.
type Plan struct {
	// Deliveries are the hand-overs, at most one for each kind of recipients. None if there is a Refusal.
	Deliveries []Delivery `json:"deliveries"`
	// Discarded are deliveries that the configuration discards.
	Discarded []Delivery `json:"discarded,omitempty"`
	// Refusal ends the run without any hand-over.
	Refusal *cause.Failure `json:"-"`
}

// Delivery is one hand-over: the recipients of one class.
type Delivery struct {
	Class  Class  `json:"class"`
	Sender string `json:"sender"` // the reverse-path it leaves with
	// Alias is the key that the envelope sender has to be stored under before the hand-over, because Sender
	// is an alias; the zero value if it is none.
	Alias      srs.Key     `json:"-"`
	Recipients []Recipient `json:"recipients"`
	// SignAs is the domain whose DKIM keys sign, "" if none does.
	SignAs string `json:"sign_as,omitempty"`
	// From is the new address in From:, "" if that field stays.
	From string `json:"from,omitempty"`
	// Stamp is set if Authentication-Results is added; Purge if those that only claim to be ours are removed
	// (RFC 8601 section 5).
	Stamp bool `json:"stamp,omitempty"`
	Purge bool `json:"purge,omitempty"`
	// Trace is set if X-Forwarded-To and X-Forwarded-For are added.
	Trace bool `json:"trace,omitempty"`
	// Seal is set if an ARC set is added.
	Seal bool `json:"seal,omitempty"`
	// Arrival is what happens to the seal of arrival.
	Arrival ArrivalSeal `json:"arrival,omitempty"`
	// Fold is set if long lines are folded before we sign: smtp(8) would fold them later, which breaks
	// signatures.
	Fold bool `json:"fold,omitempty"`
	// Forecast is nil for what stays on this side.
	Forecast *Forecast `json:"forecast,omitempty"`
	// Reasons are for people, in the order of the decisions.
	Reasons []cause.Reason `json:"reasons,omitempty"`

	discarded bool // the configuration discards it
}

func (d *Delivery) because(why cause.Cause, about ...any) {
	d.Reasons = append(d.Reasons, why.About(about...))
}

// plan decides. It touches nothing outside its arguments (the clock is in the SRS rewriter).
func (p *Policy) plan(env *Envelope, msg Facts) Plan {
	groups := map[kind]*Delivery{}
	var kinds []kind
	group := func(recipient Recipient) *Delivery {
		k := p.kindOf(env, msg, recipient)
		if groups[k] == nil {
			groups[k] = &Delivery{Class: k.class, Sender: env.Sender}
			kinds = append(kinds, k)
		}
		return groups[k]
	}

	var refusal *cause.Failure
	for _, recipient := range env.Recipients {
		delivery := group(recipient)
		if p.OwnsSRS(recipient.Address) {
			original, err := p.Reverse(recipient.Address)
			if err != nil && !err.Temporary() && len(env.Recipients) > 1 {
				// One exit status counts for all recipients. Handed back unchanged, this one is rejected by
				// Postfix, which knows no such user in the SRS domain; the others are not affected.
				delivery.because(cause.SRSLeftToPostfix, recipient.Address, err.AsReason())
			} else if err != nil {
				refusal = err
			} else {
				delivery.because(cause.SRSValid, recipient.Address)
				recipient.Address = original
			}
		} else if delivery.Class == Reversed {
			delivery.because(cause.SRSTakenBack, cmp.Or(recipient.Original, recipient.Claimed))
		}
		delivery.Recipients = append(delivery.Recipients, recipient)
	}
	if refusal != nil {
		return Plan{Refusal: refusal}
	}

	var decided Plan
	sortByClass(kinds, func(k kind) Class { return k.class })
	for _, kind := range kinds {
		delivery := groups[kind]
		err := p.mend(delivery, env, msg)
		delivery.settleSignatures(msg, p.IsOurs(env))
		p.settleArrival(delivery, env, msg)
		switch {
		case err != nil && (err.Temporary() || len(groups) == 1):
			return Plan{Refusal: err}
		case err != nil:
			// One exit status counts for all recipients, and the others must get the message.
			delivery.because(cause.ForOthers, err.AsReason())
		case delivery.discarded:
			decided.Discarded = append(decided.Discarded, *delivery)
			continue
		}
		if err := p.refuseLaundering(delivery, env, msg); err != nil {
			return Plan{Refusal: err}
		}
		if delivery.Class != Local && delivery.Class != Reversed {
			delivery.Forecast = p.forecast(delivery, msg, p.IsOurs(env))
		}
		decided.Deliveries = append(decided.Deliveries, *delivery)
	}
	return decided
}

// mend decides what changes in a delivery: sender, From:, signature, other fields.
func (p *Policy) mend(d *Delivery, env *Envelope, msg Facts) *cause.Failure {
	switch {
	case d.Class == Reversed && (msg.Mended || !p.isOwnBounce(env)):
		_, err := p.disownSender(d, env, msg)
		return err
	case d.Class == Local:
		d.because(cause.StaysHere)
		return nil
	case msg.Mended:
		d.because(cause.Requeued)
		return nil
	case !p.IsOurs(env):
		return p.mendForeign(d, env, msg)
	}
	d.becauseOrigin(env.Origin)
	d.SignAs = p.AuthorSigner(msg.Authors)
	if d.SignAs == "" && env.Sender == "" {
		d.SignAs = p.defaultSigner
	}
	return p.rewriteSender(d, env)
}

// settleSignatures drops signatures that would not be valid, and plans to fold long lines where no other
// signature than ours has to survive.
func (d *Delivery) settleSignatures(msg Facts, isOurs bool) {
	if err := msg.Unsignable; err != nil && d.SignAs != "" {
		d.SignAs, d.Seal = "", false
		d.because(cause.UnsignedInvalid, err)
	} else if err != nil && d.Seal {
		d.Seal = false
		d.because(cause.UnsealedInvalid, err)
	}
	if d.SignAs != "" && (isOurs || d.From != "") && msg.LongestLine > message.MaxLine {
		d.Fold = true
		d.because(cause.Folded, msg.LongestLine)
	}
}
