package dkim

import (
	"errors"
	"fmt"
	"io"

	"github.com/emersion/go-msgauth/dkim"
)

// ErrUnsignable: the message has a shape over which no signature would hold, or none can be made at a bounded cost. It is to leave
// without one. Such a message has no From: field (RFC 6376 section 5.4 wants it signed), a CR within a line, more than half a
// million empty lines in a row, or more fields than fit into h=.
var ErrUnsignable = errors.New("cannot be signed")

// signedFields are the fields that go into a signature, and how.
var signedFields = []struct {
	name string
	oversigning
}{
	{"from", always}, {"reply-to", always}, {"subject", always}, {"to", always}, {"cc", always},
	{"date", ifPresent}, {"message-id", ifPresent}, {"mime-version", ifPresent}, {"content-type", ifPresent},
	{"content-transfer-encoding", ifPresent}, {"in-reply-to", ifPresent}, {"references", ifPresent},
	{"openpgp", ifPresent}, {"autocrypt", ifPresent},
	// A mailing list behind us adds these: they are signed as they are, and may be added to.
	{"sender", never}, {"list-id", never}, {"list-help", never}, {"list-unsubscribe", never}, {"list-unsubscribe-post", never},
	{"list-subscribe", never}, {"list-post", never}, {"list-owner", never}, {"list-archive", never},
	{"resent-date", never}, {"resent-from", never}, {"resent-sender", never}, {"resent-to", never}, {"resent-cc", never},
	{"resent-message-id", never},
}

// oversigning lists a field once more than it occurs, so that a later hop cannot add another one (RFC 6376 section 8.15).
type oversigning int

const (
	never oversigning = iota
	ifPresent
	always
)

// maxNameList bounds the h= tag, in octets: go-msgauth never folds it, and a line may have 998 (RFC 5322 section 2.1.1).
const maxNameList = 900

// maxRun bounds the line ends in a row: go-msgauth keeps each run in memory, 2 octets a line end, for every key.
const maxRun = 1 << 19

// Signer makes the signatures of several keys in one pass over the body: relaxed/relaxed, SHA-256, all over the same fields. Its
// memory does not grow with the body.
type Signer struct {
	body    relaxedBody
	signers []*dkim.Signer
}

// NewSigner starts signing a message with the given header. The error is ErrUnsignable for a header that cannot be signed.
// The caller writes the body, without the empty line before it, asks for the signatures, and calls Close in any case.
func NewSigner(header Header, keys []*Key) (*Signer, error) {
	names, relaxed, err := selectFields(header)
	if err != nil {
		return nil, err
	}
	s := &Signer{}
	writers := make([]io.Writer, len(keys))
	for i, key := range keys {
		signer, err := dkim.NewSigner(&dkim.SignOptions{
			Domain:                 key.Domain,
			Selector:               key.Selector,
			Signer:                 key.private,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed,
			BodyCanonicalization:   dkim.CanonicalizationRelaxed,
			HeaderKeys:             names,
		})
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("DKIM key %s: %w", key, err)
		}
		s.signers = append(s.signers, signer)
		writers[i] = signer
	}
	// go-msgauth gets what it signs in canonical form already: its own canonicalisation then changes nothing, and what costs it
	// more than linear time, folded fields and many of them, does not reach it.
	all := io.MultiWriter(writers...)
	if _, err := all.Write(relaxed); err != nil {
		s.Close()
		return nil, fmt.Errorf("signing: %w", err)
	}
	s.body = relaxedBody{w: all, maxRun: maxRun}
	return s, nil
}

// selectFields gives the names for h= and the signed fields in relaxed form, in the message's order, with the empty line.
func selectFields(header Header) (names []string, relaxed []byte, err error) {
	count := make([]int, len(signedFields))
	length := 0 // of h=
	for _, field := range header {
		i := signedAs(field)
		if i < 0 {
			continue
		}
		name := signedFields[i].name
		if hasBareCR(field) {
			return nil, nil, fmt.Errorf("%w: the field %s: has a CR within a line, which verifiers read in different ways", ErrUnsignable, name)
		}
		if length += len(name) + 1; length > maxNameList {
			return nil, nil, fmt.Errorf("%w: too many header fields", ErrUnsignable)
		}
		count[i]++
		relaxed = appendRelaxed(relaxed, field)
	}
	if count[0] == 0 {
		return nil, nil, fmt.Errorf("%w: no From: field", ErrUnsignable)
	}
	length = 0
	for i, f := range signedFields {
		times := count[i]
		if f.oversigning == always || f.oversigning == ifPresent && times > 0 {
			times++
		}
		length += times * (len(f.name) + 1)
		for range times {
			names = append(names, f.name)
		}
	}
	if length > maxNameList {
		return nil, nil, fmt.Errorf("%w: too many header fields", ErrUnsignable)
	}
	return names, append(relaxed, '\r', '\n'), nil
}

// signedAs is the field's place in signedFields, -1 if it is not signed.
func signedAs(field Field) int {
	for i, f := range signedFields {
		if field.Is(f.name) {
			return i
		}
	}
	return -1
}

// hasBareCR finds a CR that does not belong to a line end.
func hasBareCR(f Field) bool {
	for i, c := range f {
		if c == '\r' && i+1 < len(f) && f[i+1] != '\n' && f[i+1] != '\r' {
			return true
		}
	}
	return false
}

// Write takes a part of the body; lines end with LF or with CRs and LF.
func (s *Signer) Write(p []byte) (int, error) { return s.body.Write(p) }

// Sign ends the body and gives the DKIM-Signature fields, one for each key in the keys' order, to be put on top of the message. They
// are folded, with CRLF. The error is ErrUnsignable for a body that cannot be signed.
func (s *Signer) Sign() (Header, error) {
	if err := s.body.Close(); err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	if s.body.hasBareCR {
		return nil, fmt.Errorf("%w: the body has a CR within a line, which verifiers read in different ways", ErrUnsignable)
	}
	if s.body.overrun {
		return nil, fmt.Errorf("%w: more than %d empty lines in a row", ErrUnsignable, maxRun)
	}
	var fields Header
	for _, signer := range s.signers {
		if err := signer.Close(); err != nil {
			return nil, fmt.Errorf("signing: %w", err)
		}
		fields = append(fields, Field(signer.Signature()))
	}
	return fields, nil
}

// Close releases what a signer that was given up still holds.
func (s *Signer) Close() {
	for _, signer := range s.signers {
		signer.Close()
	}
}
