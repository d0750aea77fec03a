package arrival

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"postmend/dkim"
)

// Verdict is what an Authentication-Results field, written beside the seal, has no word for. The seal covers
// that field:
//
//	…; ar=…; dp=reject; do=example.com; da=spf,dkim=20d=3Dexample.com; ds=list-id:sender; …
//
// ar is the field's SHA-256 in relaxed form. ds are further fields that hh covers, because the author has
// signed them: without that, who changes one of them would break the signature, and keep the verdict.
type Verdict struct {
	Policy         string   // of DMARC, as it applies; "" if none does
	Organisational string   // the organisational domain of From:
	AlignedBy      []string // the identifiers by which DMARC passed
	Signed         []string // fields that the author signed, in lower case

	field string // ar
}

const (
	maxPolicy    = 16   // octets
	maxAlignedBy = 1024 // octets, of all
	maxSigned    = 1024 // octets, of all
)

// NewVerdict is about an Authentication-Results field that stands beside the seal. It is nil if it is too
// long to be written: nobody will then believe the field.
func NewVerdict(field dkim.Field, policy, organisational string, alignedBy, signed []string) *Verdict {
	var further []string
	for _, name := range signed {
		isKnown := slices.Contains(otherFields, name) || slices.Contains(unsealedFields, name) ||
			slices.Contains(further, name)
		if !isKnown && !strings.HasPrefix(name, "arc-") {
			further = append(further, name)
		}
	}
	aligned := strings.Join(alignedBy, ",")
	if len(policy) > maxPolicy || len(organisational) > maxName || len(aligned) > maxAlignedBy ||
		len(strings.Join(further, ":")) > maxSigned {
		return nil
	}
	return &Verdict{policy, organisational, alignedBy, further, hashOfField(field)}
}

// unsealedFields are added or dropped on the way to a mailbox and back, From: has a hash of its own.
var unsealedFields = []string{"from", "received", "return-path", "delivered-to", "x-original-to", "bcc",
	"resent-bcc", "content-length", "dkim-signature", "authentication-results", "x-sieve",
	"x-sieve-redirected-from", strings.ToLower(FieldName)}

// signed are the fields that hh covers for a verdict.
func (v *Verdict) signed() []string {
	if v == nil {
		return nil
	}
	return v.Signed
}

// Covers tells whether a field is the one that the verdict is about.
func (v *Verdict) Covers(field dkim.Field) bool { return v != nil && v.field == hashOfField(field) }

func hashOfField(field dkim.Field) string {
	sum := sha256.Sum256(field.AppendRelaxed(nil))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (v *Verdict) tags() tags {
	if v == nil {
		return nil
	}
	return tags{{"ar", v.field}, {"dp", encode(v.Policy)}, {"do", encode(v.Organisational)},
		{"da", encode(strings.Join(v.AlignedBy, ","))}, {"ds", encode(strings.Join(v.Signed, ":"))}}
}

// verdict is nil if the seal covers no field.
func (t tags) verdict() (v *Verdict, ok bool) {
	field, found := t.value("ar")
	if !found {
		return nil, true
	}
	v, ok = &Verdict{field: field}, true
	text := func(name string) string {
		encoded, _ := t.value(name)
		decoded, err := decode(encoded)
		ok = ok && err == nil
		return decoded
	}
	v.Policy, v.Organisational = text("dp"), text("do")
	if aligned := text("da"); aligned != "" {
		v.AlignedBy = strings.Split(aligned, ",")
	}
	if signed := text("ds"); signed != "" {
		v.Signed = strings.Split(signed, ":")
	}
	return v, ok
}
