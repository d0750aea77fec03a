package dkim

import (
	"context"
	"crypto/subtle"
	"errors"
	"net"
	"slices"
	"strings"
	"time"
)

// Status is a verdict on a signature, in the words of RFC 8601 section 2.7.1.
type Status string

// For the same message, only TempError may change when it is verified again.
const (
	None      Status = "none"      // the message has no signature; never in a Verification
	Pass      Status = "pass"      // the signature is good, and its key was usable
	Fail      Status = "fail"      // wrong signature or body hash, expired, or its key was revoked
	Policy    Status = "policy"    // the key is shorter or longer than we accept
	Neutral   Status = "neutral"   // not decided, because verifiers read the signed text differently
	TempError Status = "temperror" // the key could not be looked up now
	PermError Status = "permerror" // the signature or the key record cannot be used or is missing
)

// Canonicalization is how header or body are read before they are hashed (RFC 6376 section 3.4).
type Canonicalization string

const (
	Simple  Canonicalization = "simple"  // as they are
	Relaxed Canonicalization = "relaxed" // blanks and folds may change
)

// Resolver looks up TXT records, one string a record. Names are absolute, with a final dot. *net.Resolver
// is one. An error is temporary unless it is a *net.DNSError with IsNotFound.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// VerifyOptions say how to verify. The zero value works.
type VerifyOptions struct {
	Resolver      Resolver         // nil is the system's
	Now           func() time.Time // for t= and x=; nil is time.Now
	MaxSignatures int              // how many are evaluated, from the top; the rest are ignored. 0 is 10.
	// Wanted tells by d= which of these are evaluated; nil is all.
	Wanted func(domain string) bool
}

const (
	defaultMaxSignatures = 10
	clockSkew            = 24 * time.Hour // that t= may be ahead of our clock
	maxCost              = 100            // of all signatures, see Signature.Cost: ten keys of 4096 bits
)

// Verification is the verdict on one signature. What could not be read of it is left empty; its texts are
// printable and without line ends.
type Verification struct {
	Status Status `json:"status"`
	Reason string `json:"reason,omitempty"` // why it is not pass, short, ASCII

	Domain    string           `json:"domain"`    // d=, a domain name as it is written
	Selector  string           `json:"selector"`  // s=
	Identity  string           `json:"identity"`  // i=, quoted-printable; by default "@" and the domain
	Algorithm string           `json:"algorithm"` // a=
	Header    Canonicalization `json:"header_canonicalization"`
	Body      Canonicalization `json:"body_canonicalization"`
	Signature string           `json:"signature"` // b= without blanks, for header.b (RFC 6008)

	SignedNames []string `json:"signed_names"`       // h= in lower case, a name as often as it is listed
	Limited     bool     `json:"limited,omitempty"`  // l= is there: text may have been added to the body
	Testing     bool     `json:"testing,omitempty"`  // the key has t=y: receivers treat the mail as unsigned
	KeyBits     int      `json:"key_bits,omitempty"` // 256 for ed25519; 0 if no key was needed or found

	// SeveralRecords is set if the key's name has more than one TXT record. What then holds is not defined
	// (RFC 6376 section 3.6.2.2).
	SeveralRecords bool `json:"several_records,omitempty"`

	// Disputed says why verifiers in wide use reject this signature, though it is valid. Not set for an
	// algorithm or a limit.
	Disputed string `json:"disputed,omitempty"`
}

// Verifier verifies the DKIM signatures of one message (RFC 6376 section 6) in one pass over its body. Its
// memory does not grow with the body. It does not check alignment with From:; the caller does.
type Verifier struct {
	options    VerifyOptions
	header     Header
	oddities   *oddities // of the header, when they are needed
	fields     fieldIndex
	signatures []*Signature
	bodies     map[Canonicalization]*BodyHash
}

// NewVerifier reads the signatures of a message with the given header, which must not be changed before
// Verify. The caller writes the body, without the empty line before it, and then calls Verify.
//
// others are signatures over the same message in fields of another name. They share the pass over the body,
// but Verify ignores them.
func NewVerifier(h Header, o VerifyOptions, others ...*Signature) *Verifier {
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxSignatures <= 0 {
		o.MaxSignatures = defaultMaxSignatures
	}
	v := &Verifier{options: o, header: h, bodies: map[Canonicalization]*BodyHash{}}
	read := 0
	for _, field := range h {
		if read == o.MaxSignatures {
			break
		}
		if !field.Is("DKIM-Signature") {
			continue
		}
		read++
		if s := newSignature(field, dkimSignature); o.Wanted == nil || o.Wanted(s.Summary().Domain) {
			v.signatures = append(v.signatures, s)
		}
	}
	v.prepare(h, slices.Concat(v.signatures, others))
	return v
}

// prepare finds out which fields and which forms of the body are signed.
func (v *Verifier) prepare(h Header, signatures []*Signature) {
	limits := map[Canonicalization][]int64{}
	var names []string
	for _, s := range signatures {
		s.verifier = v
		if s.problem != nil {
			continue
		}
		names = append(names, s.names...)
		if limits[s.body] == nil {
			limits[s.body] = []int64{}
		}
		if s.limited {
			limits[s.body] = append(limits[s.body], s.limit)
		}
	}
	for c, lengths := range limits {
		v.bodies[c] = newBodyHash(c, lengths)
	}
	v.fields = newFieldIndex(h, names)
}

// fieldIndex finds the fields of a name, given in lower case, from the bottom up.
type fieldIndex map[string]*occurrences

// occurrences are as many fields of one name as may be picked.
type occurrences struct {
	wanted int
	fields []Field
}

// newFieldIndex makes an index of the fields that have one of the names, which are in lower case.
func newFieldIndex(h Header, names []string) fieldIndex {
	x := fieldIndex{}
	for _, name := range names {
		if x[name] == nil {
			x[name] = &occurrences{}
		}
		x[name].wanted++
	}
	var name []byte
	for _, field := range slices.Backward(h) {
		name = appendLowerName(name[:0], field)
		if o := x[string(name)]; o != nil && len(o.fields) < o.wanted {
			o.fields = append(o.fields, field)
		}
	}
	return x
}

// pick gives the signed fields: of several fields with one name, the last unused one counts; a name without a
// field adds nothing (RFC 6376 section 5.4.2). A signature that lists its own field's name more often than
// it occurred covers itself, for every verifier, and fails.
func (x fieldIndex) pick(names []string) []Field {
	var picked []Field
	used := map[string]int{}
	for _, name := range names {
		if o := x[name]; o != nil && used[name] < len(o.fields) {
			picked = append(picked, o.fields[used[name]])
			used[name]++
		}
	}
	return picked
}

func appendLowerName(b []byte, f Field) []byte {
	for _, c := range f.name() {
		b = append(b, lower(c))
	}
	return b
}

// Write takes a part of the body; lines end with LF or with CRs and LF. It never fails.
func (v *Verifier) Write(p []byte) (int, error) {
	for _, body := range v.bodies {
		body.Write(p)
	}
	return len(p), nil
}

// Close ends the body. Call it before everything that depends on the body, except Verify. It never fails.
func (v *Verifier) Close() error {
	for _, body := range v.bodies {
		body.Close()
	}
	return nil
}

// Body is the body in one form, hashed on the way; nil if no signature wanted that.
func (v *Verifier) Body(c Canonicalization) *BodyHash { return v.bodies[c] }

// Verify closes the body and gives a verdict on each signature, from the top one down; none if there is no
// signature. Keys are looked up in parallel, each name once, and only if nothing else has failed. When the
// context ends, missing keys are TempError. Call it once.
func (v *Verifier) Verify(ctx context.Context) []Verification {
	v.Close()
	for _, s := range v.signatures {
		s.CheckMessage()
	}
	FindKeys(ctx, v.options.Resolver, v.signatures)
	var verdicts []Verification
	left := maxCost
	for _, s := range v.signatures {
		if cost := s.Cost(); cost <= left {
			left -= cost
		} else {
			s.problem = &problem{Policy, "verifying it would take too much time"}
		}
		verdict := s.Verdict()
		if verdict.Status == Pass {
			verdict.Disputed = v.disputed(s)
		}
		verdicts = append(verdicts, verdict)
	}
	return verdicts
}

// checkTimes compares t= and x= with the clock.
func (s *signature) checkTimes(now time.Time) *problem {
	switch {
	case s.expiresAt >= 0 && now.Unix() > s.expiresAt:
		return &problem{Fail, "signature expired"}
	case s.signedAt > now.Add(clockSkew).Unix():
		return &problem{Fail, "signed in the future"}
	}
	return nil
}

// checkBody compares bh=.
func (s *signature) checkBody(body *BodyHash) *problem {
	sum := body.digests.whole()
	if s.limited {
		var isLongEnough bool
		if sum, isLongEnough = body.digests.upTo(s.limit); !isLongEnough {
			return permError("l= is more than the body has")
		}
	}
	switch {
	case subtle.ConstantTimeCompare(sum[:], s.bodyHash) != 1:
		return &problem{Fail, "body hash did not verify"}
	case body.seen.hasBareCR:
		return &problem{Neutral, "CR within a line of the body"}
	}
	return nil
}

// FindKeys looks up the keys of the signatures that have not failed yet, in parallel, each name once. When
// the context ends, missing keys are TempError.
func FindKeys(ctx context.Context, resolver Resolver, signatures []*Signature) {
	type answer struct {
		name    string
		key     *publicKey
		problem *problem
	}
	waiting := map[string][]*Signature{}
	answers := make(chan answer, len(signatures)) // look-ups do not block after we stop waiting
	for _, s := range signatures {
		if s.problem != nil {
			continue
		}
		name := strings.ToLower(s.selector + "._domainkey." + s.domain + ".")
		if waiting[name] == nil {
			go func() {
				key, p := lookupKey(ctx, resolver, name)
				answers <- answer{name, key, p}
			}()
		}
		waiting[name] = append(waiting[name], s)
	}
	take := func(a answer) {
		for _, s := range waiting[a.name] {
			s.key, s.problem = a.key, a.problem
		}
		delete(waiting, a.name)
	}
	for len(waiting) > 0 {
		select {
		case a := <-answers:
			take(a)
		case <-ctx.Done():
			for len(answers) > 0 { // what has come counts
				take(<-answers)
			}
			for _, list := range waiting {
				for _, s := range list {
					s.problem = &problem{TempError, "key look-up took too long"}
				}
			}
			return
		}
	}
}

func lookupKey(ctx context.Context, resolver Resolver, name string) (*publicKey, *problem) {
	records, err := resolver.LookupTXT(ctx, name)
	var dnsError *net.DNSError
	switch {
	case err == nil:
		return chooseKey(records)
	case errors.As(err, &dnsError) && dnsError.IsNotFound:
		return nil, permError("no key record")
	}
	return nil, &problem{TempError, "key look-up failed"}
}
