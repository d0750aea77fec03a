package filter

import (
	"context"
	"io"
	"net/mail"
	"slices"
	"time"

	"postmend/dkim"
	"postmend/filter/arrival"
	"postmend/filter/authn"
	"postmend/filter/cause"
	"postmend/filter/message"
	"postmend/filter/plan"
)

// The door is the milter's part: a message is judged at SMTP time, while its sender still waits for an
// answer. Nothing that depends on a recipient is decided here, because aliases are not expanded yet.

// Judgement is what becomes of a message at the door.
type Judgement struct {
	// Refusal rejects the message, for ever or for now; nil lets it go on.
	Refusal *cause.Failure
	// Remove are fields that falsely claim to be of this host, from the top to the bottom.
	Remove []FieldAt
	// Add are fields to stand below the Received: field that Postfix writes, in this order.
	Add dkim.Header
	// Log is the line for the log, without the queue id.
	Log string
}

// FieldAt is the Nth field of a name from the top, the first being 1.
type FieldAt struct {
	Name string
	N    int
}

// maxRemoved bounds the fields that are removed: Postfix reads the header anew for each.
const maxRemoved = 100

// doorMemory is how much of a message stays in memory, in octets, beside its header: a resident milter holds
// many at once.
const doorMemory = 64 << 10

// Judge judges one message, whose header and body are in content. Recipients may be missing in the envelope.
// An error, or an end of ctx, means that it could not be judged: it then goes on, as Unjudged says.
func (f *Filter) Judge(ctx context.Context, env *plan.Envelope, content io.Reader) (Judgement, error) {
	started := time.Now()
	at := *env
	at.AtDoor = true
	isOwn := f.policy.IsOurs(&at) || isThisHost(&at)
	options := message.Options{Memory: doorMemory, Small: true, Dir: f.config.Limits.SpoolDir}
	options.HashBody = f.hashesBody(!isOwn)
	m, err := message.Read(content, options)
	if err != nil {
		return Judgement{}, err
	}
	defer m.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(f.config.Limits.Deadline))
	defer cancel()
	log := &doorLog{env: &at, isOwn: isOwn, started: started}
	j, err := f.judge(ctx, &at, m, isOwn, log)
	if err != nil {
		return Judgement{}, err
	}
	j.Log = log.line(&j)
	return j, nil
}

// Unjudged is what becomes of a message that could not be judged: from outside, it gets a seal that tells
// only where it came from. Otherwise a sender could fill the spool, and a program here that sends the message
// on would seem to have written it.
func (f *Filter) Unjudged(env *plan.Envelope) (j Judgement) {
	at := *env
	at.AtDoor = true
	if !f.policy.IsOurs(&at) && !isThisHost(&at) {
		j.Add, _ = f.sealAtDoor(&at, &message.Message{Oversized: true}, nil)
	}
	return j
}

func (f *Filter) judge(
	ctx context.Context, env *plan.Envelope, m *message.Message, isOwn bool, log *doorLog,
) (j Judgement, err error) {
	log.unread = m.Oversized
	if m.Oversized { // the filter believes nothing that its header says
		hides, err := f.hidesClaims(m)
		switch {
		case err != nil || isOwn:
			return j, err
		case hides:
			return Judgement{Refusal: cause.HeaderTooLong.Failure(nil)}, nil
		}
		j.Add, log.unsealed = f.sealAtDoor(env, m, nil)
		return j, nil
	}
	j.Remove = f.claims(env, m, isOwn)
	if len(j.Remove) > maxRemoved {
		return Judgement{Refusal: cause.TooManyClaims.Failure(nil, maxRemoved)}, nil
	}
	if isOwn {
		return j, nil
	}
	if f.namesTrusted(m) { // a stranger can write that name, but gains nothing: the filter judges, as ever
		log.isLeft = true
		j.Add, log.unsealed = f.sealAtDoor(env, m, nil)
		return j, nil
	}
	resolver := authn.New(f.config.Resolver)
	proven, err := f.prove(ctx, resolver, env, m)
	if err != nil {
		return j, err
	}
	known := plan.Facts{Authors: f.policy.Authors(env, m), Proven: proven,
		Patient:   f.ageAtDoor(env, m).Abs() < time.Duration(f.config.Limits.DNSPatience),
		Testimony: f.testimony(m, proven)}
	log.known = &known
	isOwnAuthor := func(author string) bool { return f.isOwnAuthor(ctx, author) }
	if refusal := f.policy.RefusedAtDoor(env, known, isOwnAuthor); refusal != nil {
		return Judgement{Refusal: refusal}, nil
	}
	results := f.authenticationResults(proven.Results)
	j.Add, log.unsealed = f.sealAtDoor(env, m, verdictOf(proven.Results, results))
	j.Add = append(j.Add, results)
	return j, nil
}

// verdictOf is what the filter may believe; nil if it has to judge again: other receivers may apply a DMARC
// record that we take for invalid, or a stricter policy than we do.
func verdictOf(found authn.Results, field dkim.Field) *arrival.Verdict {
	d := found.DMARC
	if d.Odd || d.MayApply != d.Policy {
		return nil
	}
	var signed []string
	for _, v := range found.DKIM {
		if v.Status == dkim.Pass {
			signed = append(signed, v.SignedNames...)
		}
	}
	return arrival.NewVerdict(field, string(d.Policy), d.Organisational, d.AlignedBy, signed)
}

// namesTrusted tells whether a field has a name in trusted_authserv_ids: then a filter of ours may have
// judged the message before it came here.
func (f *Filter) namesTrusted(m *message.Message) bool {
	return slices.ContainsFunc(f.config.TrustedAuthservIDs, func(id string) bool {
		return slices.ContainsFunc(m.Header, func(field dkim.Field) bool {
			return field.Is("Authentication-Results") && authn.ClaimsToBe(field.Value(), id)
		})
	})
}

// claims lists the fields that falsely claim to be of this host. From outside, that is all of them; mail of
// our own side may be a redirect, with fields that the seal of its arrival proves. What a program on this
// host brings keeps a seal that does not hold: to the filter, it says that the message has been elsewhere.
func (f *Filter) claims(env *plan.Envelope, m *message.Message, isOwn bool) (list []FieldAt) {
	var own *plan.Origin
	keepsSeals := !f.config.Arrival.Seals() || isOwn && !env.HasLogin() && isThisHost(env)
	if isOwn {
		if o, err := f.sealedOrigin(m); err != nil {
			return nil // the secrets cannot be read: the filter looks at it again
		} else if o.Seal != nil || o.Doubt.Text == "" {
			own = &o
		}
	}
	results, seals := 0, 0
	for _, field := range m.Header {
		switch {
		case field.Is("Authentication-Results"):
			results++
			isProved := own != nil && own.Seal != nil && own.Seal.Verdict.Covers(field)
			if !isProved && f.claimsToBeOurs(field) {
				list = append(list, FieldAt{"Authentication-Results", results})
			}
		case isSeal(field):
			seals++
			if own == nil && !keepsSeals {
				list = append(list, FieldAt{arrival.FieldName, seals})
			}
		}
	}
	return list
}

// isOwnAuthor tells whether a domain of From: is ours: delivered here, or aligned with one that we sign for.
func (f *Filter) isOwnAuthor(ctx context.Context, author string) bool {
	if f.policy.SignsFor(author) {
		return true
	}
	isLocal, err := f.isLocal(ctx, author)
	return isLocal && err == nil // a table that fails rejects no mail
}

// ageAtDoor is how long a message has been under way, by what it tells itself: the newest Received: field, or
// Date:. The milter is not told how often a sender has tried. Nothing is gained by a lie: an old date ends
// our patience, as if there were no milter, and a new one is deferred.
func (f *Filter) ageAtDoor(env *plan.Envelope, m *message.Message) time.Duration {
	n := 0
	if _, id := message.Protocol(m.Received(0)); id != "" && id == env.QueueID {
		n = 1 // our Postfix's own, which milters see where a policy server has put a field above it
	}
	if newest := m.Received(n); newest != "" {
		return f.since(newest)
	}
	for _, field := range m.Header {
		if field.Is("Date") {
			const enough = 200
			value := field.Value()
			if date, err := mail.ParseDate(dkim.Unfold(value[:min(len(value), enough)])); err == nil {
				return f.now().Sub(date)
			}
			break
		}
	}
	return forEver
}

// sealAtDoor makes the seal, if there is to be one. why says why there is none although it should be.
func (f *Filter) sealAtDoor(env *plan.Envelope, m *message.Message, verdict *arrival.Verdict) (
	fields dkim.Header, why error) {
	if !f.config.Arrival.Seals() || f.config.SRS.SecretsFile == "" {
		return nil, nil
	}
	if why = f.unsealable(); why != nil {
		return nil, why
	}
	from := f.arrivedFrom(env)
	from.Verdict = verdict
	if len(env.Recipients) == 1 {
		from.Recipient = env.Recipients[0].Address
	}
	seal, err := f.sealArrival(m, from)
	if err != nil {
		return nil, err
	}
	return dkim.Header{seal}, nil
}
