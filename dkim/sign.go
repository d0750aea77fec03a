package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
	"time"
)

// ErrUnsignable means that no signature over the message would verify everywhere, so it must leave without
// one. Such a message has no From: field (RFC 6376 section 5.4 requires that it is signed), a CR within a
// line, or too many fields.
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
	// A mailing list behind us adds these fields: so those that exist are signed, and more may be added.
	{"sender", never}, {"list-id", never}, {"list-help", never}, {"list-unsubscribe", never},
	{"list-unsubscribe-post", never}, {"list-subscribe", never}, {"list-post", never}, {"list-owner", never},
	{"list-archive", never}, {"resent-date", never}, {"resent-from", never}, {"resent-sender", never},
	{"resent-to", never}, {"resent-cc", never}, {"resent-message-id", never},
}

// oversigning lists a field once more than it occurs, so that a later hop cannot add another one (RFC 6376
// section 8.15).
type oversigning int

const (
	never oversigning = iota
	ifPresent
	always
)

// maxNameList bounds the h= tag, in octets.
const maxNameList = 4096

// Signer makes the signatures of several keys: relaxed/relaxed, SHA-256, all over the same fields.
type Signer struct {
	keys   []*Key
	names  []string
	fields hash.Hash // over the fields to sign
}

// NewSigner starts to sign a message with the given header. The error wraps ErrUnsignable if the header
// cannot be signed, so that the body need not be hashed.
func NewSigner(header Header, keys []*Key) (*Signer, error) {
	names, err := SignedNames(header)
	if err != nil {
		return nil, err
	}
	s := &Signer{keys: keys, names: names, fields: sha256.New()}
	WriteFields(s.fields, header, names)
	return s, nil
}

// WriteFields writes the fields that h= names, in relaxed form.
func WriteFields(w io.Writer, header Header, names []string) {
	var relaxed []byte
	for _, field := range newFieldIndex(header, names).pick(names) {
		relaxed = field.AppendRelaxed(relaxed[:0])
		w.Write(relaxed)
	}
}

// SignedNames gives the names for h= of a message with the given header. It includes all fields with a name
// in also. The error wraps ErrUnsignable.
func SignedNames(header Header, also ...string) ([]string, error) {
	count := make([]int, len(signedFields)+len(also))
	length := 0 // of h=
	for _, field := range header {
		i, name := signedAs(field, also)
		if i < 0 {
			continue
		}
		if field.HasBareCR() {
			return nil, fmt.Errorf("%w: the field %s: contains a bare CR, which verifiers interpret "+
				"differently", ErrUnsignable, name)
		}
		if length += len(name) + 1; length > maxNameList {
			return nil, fmt.Errorf("%w: too many header fields", ErrUnsignable)
		}
		count[i]++
	}
	if count[0] == 0 {
		return nil, fmt.Errorf("%w: no From: field", ErrUnsignable)
	}
	var names []string
	for i, f := range signedFields {
		if f.oversigning == always || f.oversigning == ifPresent && count[i] > 0 {
			count[i]++
		}
		for range count[i] {
			names = append(names, f.name)
		}
	}
	for i, name := range also {
		for range count[len(signedFields)+i] {
			names = append(names, name)
		}
	}
	return names, nil
}

// signedAs is the field's place in signedFields, or behind it in also, and its name there; -1 if it is not
// signed.
func signedAs(field Field, also []string) (int, string) {
	name := field.name() // once: a message may have a hundred thousand fields
	for i, f := range signedFields {
		if sameName(name, f.name) {
			return i, f.name
		}
	}
	for i, other := range also {
		if sameName(name, other) {
			return len(signedFields) + i, other
		}
	}
	return -1, ""
}

// Sign gives the DKIM-Signature fields, one for each key in the keys' order, to be put on top of the message.
// They are folded, with CRLF. body is the closed body in relaxed form; now becomes t=. The error wraps
// ErrUnsignable if the body must not be signed.
func (s *Signer) Sign(body *BodyHash, now time.Time) (Header, error) {
	sum, err := body.Sum()
	if err != nil {
		return nil, err
	}
	var fields Header
	for _, key := range s.keys {
		tags := append([]Tag{{"v", "1"}}, key.MessageTags(sum, s.names, now)...)
		field, err := key.SignField("DKIM-Signature", tags, s.fields)
		if err != nil {
			return nil, err
		}
		fields = append(fields, field)
	}
	return fields, nil
}

// Tag is a tag of a signature field.
type Tag struct{ Name, Value string }

// Algorithm is the value of a=.
func (k *Key) Algorithm() string {
	if k.IsRSA() {
		return "rsa-sha256"
	}
	return "ed25519-sha256"
}

// IsRSA tells the type of the key.
func (k *Key) IsRSA() bool {
	_, isRSA := k.private.(*rsa.PrivateKey)
	return isRSA
}

// MessageTags are the tags of a signature over a message in relaxed/relaxed form, in their usual order and
// without b=.
func (k *Key) MessageTags(bodyHash [sha256.Size]byte, names []string, now time.Time) []Tag {
	return []Tag{
		{"a", k.Algorithm()}, {"c", "relaxed/relaxed"}, {"d", k.Domain}, {"s", k.Selector},
		{"t", strconv.FormatInt(now.Unix(), 10)}, {"h", strings.Join(names, ":")},
		{"bh", base64.StdEncoding.EncodeToString(bodyHash[:])},
	}
}

// SignField makes a signature field of the given tags and b=. The signature covers what was written to the
// hash, and then the field itself in relaxed form (RFC 6376 section 3.7). The hash, a SHA-256, is not
// changed. The field is folded, with CRLF.
func (k *Key) SignField(name string, tags []Tag, before hash.Hash) (Field, error) {
	f := folder{b: []byte(name + ":")}
	for _, tag := range tags {
		f.tag(tag)
	}
	f.tag(Tag{"b", ""})
	own := Field(append(f.b, '\r', '\n')).AppendRelaxed(nil)
	sum := digestAfter(before, own[:len(own)-2])

	var options crypto.SignerOpts = crypto.SHA256
	if _, isEd25519 := k.private.(ed25519.PrivateKey); isEd25519 {
		options = crypto.Hash(0) // RFC 8463 section 3: the hash is the text
	}
	value, err := k.private.Sign(rand.Reader, sum[:], options)
	if err != nil {
		return nil, fmt.Errorf("signing with DKIM key %s: %w", k, err)
	}
	f.base64(base64.StdEncoding.EncodeToString(value))
	return append(f.b, '\r', '\n'), nil
}
