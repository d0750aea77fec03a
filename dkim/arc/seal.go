package arc

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"strconv"
	"time"

	"postmend/dkim"
)

// Sealing says how to extend a chain.
type Sealing struct {
	Key     *dkim.Key // RSA: RFC 8617 has no other algorithm
	Results string    // the authentication results, as the value of an Authentication-Results field
	// Intact is set if the chain passed on arrival. Otherwise it is sealed with cv=fail, which may be wrong
	// if Verify's Status was TempError.
	Intact bool
	Now    time.Time

	// Tests replace these to compare with vectors: the fields to sign, and how a field is written.
	names     []string
	signField func(name string, tags []dkim.Tag, before hash.Hash) (dkim.Field, error)
}

// Seal makes the next set of the chain, to be put on top of the message (RFC 8617 section 5.1). Sealing comes
// last: header is as it will leave; body is closed, in relaxed form. The error wraps dkim.ErrUnsignable if
// the message cannot be sealed, for example because there is an Obstacle.
func (c *Chain) Seal(header dkim.Header, body *dkim.BodyHash, s Sealing) (dkim.Header, error) {
	if obstacle := c.Obstacle(); obstacle != "" {
		return nil, fmt.Errorf("%w: no ARC set can be added: %s", dkim.ErrUnsignable, obstacle)
	}
	if s.signField == nil {
		s.signField = s.Key.SignField
	}
	if s.names == nil {
		var err error
		if s.names, err = dkim.SignedNames(header, "dkim-signature"); err != nil {
			return nil, err
		}
	}
	sum, err := body.Sum()
	if err != nil {
		return nil, err
	}
	instance := dkim.Tag{Name: "i", Value: strconv.Itoa(c.highest + 1)}
	results := dkim.Field("ARC-Authentication-Results: i=" + instance.Value + "; " + s.Results + "\r\n")

	fields := sha256.New()
	dkim.WriteFields(fields, header, s.names)
	tags := append([]dkim.Tag{instance}, s.Key.MessageTags(sum, s.names, s.Now)...)
	message, err := s.signField("ARC-Message-Signature", tags, fields)
	if err != nil {
		return nil, err
	}

	chain, cv := c.toSeal(s.Intact)
	chain.Write(results.AppendRelaxed(nil))
	chain.Write(message.AppendRelaxed(nil))
	seal, err := s.signField("ARC-Seal", []dkim.Tag{
		instance, {Name: "a", Value: s.Key.Algorithm()}, {Name: "cv", Value: cv},
		{Name: "d", Value: s.Key.Domain}, {Name: "s", Value: s.Key.Selector},
		{Name: "t", Value: strconv.FormatInt(s.Now.Unix(), 10)},
	}, chain)
	if err != nil {
		return nil, err
	}
	return dkim.Header{seal, message, results}, nil
}

// toSeal is the part of the existing chain that a seal covers, and its cv=. A seal with cv=fail covers only
// its own set (RFC 8617 section 5.1.2).
func (c *Chain) toSeal(intact bool) (chain hash.Hash, cv string) {
	chain = sha256.New()
	switch {
	case c.highest == 0 && c.broken == "":
		return chain, "none"
	case !intact || c.broken != "":
		return chain, "fail"
	}
	for _, s := range c.sets {
		for _, field := range []dkim.Field{s.results, s.message.field, s.seal.field} {
			chain.Write(field.AppendRelaxed(nil))
		}
	}
	return chain, "pass"
}
