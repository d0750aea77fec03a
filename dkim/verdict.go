package dkim

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"slices"
)

// Signature is a signature field that is being verified. The first problem is final.
type Signature struct {
	*signature
	problem  *problem
	verifier *Verifier         // has the message
	digest   [sha256.Size]byte // that b= has to sign
	key      *publicKey
	isFinal  bool
}

func newSignature(field Field, f form) *Signature {
	s, p := parseSignature(field, f)
	return &Signature{signature: s, problem: p}
}

// ParseSignature reads a DKIM-Signature field (RFC 6376 section 3.5), for its Summary.
func ParseSignature(field Field) *Signature { return newSignature(field, dkimSignature) }

// ParseMessageSignature reads an ARC-Message-Signature field (RFC 8617 section 4.1.2), for NewVerifier.
func ParseMessageSignature(field Field) *Signature { return newSignature(field, arcMessageSignature) }

// ParseSeal reads an ARC-Seal field (RFC 8617 section 4.1.3).
func ParseSeal(field Field) *Signature { return newSignature(field, arcSeal) }

// Tag gives the value of a tag, without the white space around it. found is also false if the field is not a
// tag list.
func (s *Signature) Tag(name string) (value string, found bool) {
	t, found := s.tags[name]
	return string(t.value), found
}

// Signer is d= and s=, as far as they can be used.
func (s *Signature) Signer() (domain, selector string) { return s.domain, s.selector }

// Names are those of h=, in lower case.
func (s *Signature) Names() []string { return s.names }

// settle runs a check if there is no verdict yet.
func (s *Signature) settle(check func() *problem) {
	if s.problem == nil {
		s.problem = check()
	}
}

// CheckMessage checks the signature as far as no key is needed, and gives the number of header octets that
// were hashed. The verifier's body must be closed.
func (s *Signature) CheckMessage() (octets int) {
	s.settle(func() *problem { return s.checkTimes(s.verifier.options.Now()) })
	s.settle(func() *problem { return s.checkBody(s.verifier.bodies[s.body]) })
	s.settle(func() *problem {
		fields := s.verifier.fields.pick(s.names)
		if slices.ContainsFunc(fields, Field.HasBareCR) || s.field.HasBareCR() {
			return &problem{Neutral, "CR within a line of a signed field"}
		}
		for _, field := range fields {
			octets += len(field)
		}
		s.digest = s.digestOf(fields)
		return nil
	})
	return octets
}

// Cover tells what the signature covers: what was written to the hash, a SHA-256, and its own field. The
// hash is not changed.
func (s *Signature) Cover(before hash.Hash) {
	if s.problem == nil {
		s.digest = digestAfter(before, s.ownForm())
	}
}

// Failed tells whether there is a verdict already, other than pass, so that no key is needed.
func (s *Signature) Failed() bool { return s.problem != nil }

// Cost is the work that Verdict has to do, in verifications with an RSA key of 2048 bits. Call FindKeys
// first.
func (s *Signature) Cost() int {
	if s.problem != nil || s.isFinal {
		return 0
	}
	return s.key.cost()
}

// Verdict verifies the signature with the key that FindKeys found, and gives the result. Without FindKeys,
// only a signature that has Failed has a verdict.
func (s *Signature) Verdict() Verification {
	if !s.isFinal {
		s.isFinal = true
		s.settle(func() *problem { return s.key.allows(s.signature) })
		s.settle(s.checkValue)
	}
	v := s.Summary()
	v.Status = Pass
	if s.problem != nil {
		v.Status, v.Reason = s.problem.status, s.problem.reason
	}
	if s.key != nil {
		v.Testing, v.KeyBits, v.SeveralRecords = s.key.testing, s.key.bits, s.key.several
	}
	return v
}

// Summary is what the field says, as far as it could be read: a Verification without a verdict.
func (s *Signature) Summary() Verification {
	return Verification{
		Domain: s.domain, Selector: s.selector, Identity: s.identity, Algorithm: s.algorithm,
		Header: s.header, Body: s.body, Signature: s.text, SignedNames: s.names, Limited: s.limited,
	}
}

func (s *Signature) checkValue() *problem {
	if !s.key.verifies(s.digest, s.value) {
		return &problem{Fail, "signature did not verify"}
	}
	return nil
}

// digestOf hashes the fields and then the signature's own one.
func (s *signature) digestOf(fields []Field) [sha256.Size]byte {
	hash := sha256.New()
	var canonical []byte
	for _, field := range fields {
		canonical = s.header.appendField(canonical[:0], field)
		hash.Write(canonical)
	}
	return digestAfter(hash, s.ownForm())
}

// ownForm is the signature's own field in the form that is signed: without the value of b=, the white space
// around it, and the final line end (RFC 6376 section 3.7).
func (s *signature) ownForm() []byte {
	own := slices.Concat(s.field[:s.bStart], s.field[s.bEnd:])
	return bytes.TrimSuffix(s.header.appendField(nil, own), []byte("\r\n"))
}

// digestAfter is the hash of what was hashed before and more. The hash, a SHA-256, is not changed.
func digestAfter(before hash.Hash, more []byte) (sum [sha256.Size]byte) {
	clone, err := before.(hash.Cloner).Clone()
	if err != nil {
		panic("SHA-256 cannot be cloned: " + err.Error())
	}
	clone.Write(more)
	clone.Sum(sum[:0])
	return sum
}

// appendField appends the canonical form of a field, with its CRLF.
func (c Canonicalization) appendField(b []byte, f Field) []byte {
	if c == Relaxed {
		return f.AppendRelaxed(b)
	}
	for line := range bytes.Lines(f) { // RFC 6376 section 3.4.1
		b = append(b, bytes.TrimRight(line, "\r\n")...)
		b = append(b, '\r', '\n')
	}
	return b
}
