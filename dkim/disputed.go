package dkim

import (
	"bytes"
	"slices"
)

// oncePerMessage are fields that rspamd does not verify if they occur more than once.
var oncePerMessage = [...]string{"from", "to", "cc", "subject", "message-id"}

// disputed says why verifiers in wide use reject a signature that is valid by RFC 6376; "" if none is known
// to. For a repeated field, l= and a form feed that is rspamd; for the others, at least two of dkimpy,
// Mail::DKIM, OpenDKIM, mailauth, go-msgauth, rspamd and Exim.
func (v *Verifier) disputed(s *Signature) string {
	body := v.bodies[s.body]
	switch {
	case s.key.isBareRSA:
		return "its key is published as RSAPublicKey"
	case s.limited && s.limit < body.digests.length:
		return "l= covers only a part of the body"
	case s.body == Relaxed && body.seen.hasFormFeed:
		return "the body contains a form feed"
	case s.isOddlyWritten():
		return "the DKIM-Signature field is written in an unusual way"
	}
	for _, field := range append(v.fields.pick(s.names), s.field) {
		if bytes.ContainsAny(field, "\x00\v\f") {
			return "a signed field contains NUL, a vertical tab or a form feed"
		}
	}
	if v.oddities == nil { // once for all signatures
		v.oddities = v.header.oddities()
	}
	if v.oddities.blankBeforeColon {
		return "a field has a blank before its colon"
	}
	for i, name := range oncePerMessage {
		if v.oddities.occurrences[i] > 1 && slices.Contains(s.names, name) {
			return "a signed field occurs more than once: " + name
		}
	}
	return ""
}

// oddities are what is unusual about a header.
type oddities struct {
	blankBeforeColon bool
	occurrences      [len(oncePerMessage)]int
}

func (h Header) oddities() *oddities {
	var o oddities
	for _, field := range h {
		name := field.name()
		o.blankBeforeColon = o.blankBeforeColon || field[len(name)] != ':'
		for i, once := range oncePerMessage {
			if sameName(name, once) {
				o.occurrences[i]++
			}
		}
	}
	return &o
}

// isOddlyWritten finds what makes some verifiers cut b= out in the wrong place, and 8-bit octets.
func (s *signature) isOddlyWritten() bool {
	for _, c := range s.field {
		if c >= 0x80 {
			return true
		}
	}
	if s.field[s.bStart-2] != 'b' { // a blank before the =
		return true
	}
	for name := range s.tags {
		if len(name) > 1 && name[len(name)-1] == 'b' {
			return true
		}
	}
	return false
}
