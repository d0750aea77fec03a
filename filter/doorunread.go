package filter

import (
	"bytes"
	"errors"

	"postmend/dkim"
	"postmend/filter/message"
)

// hidesClaims tells whether a header that is too long to be read has a field that falsely claims to be of
// this host. It cannot be removed, because fields are counted from the top, and who reads the mailbox may
// believe it.
func (f *Filter) hidesClaims(m *message.Message) (bool, error) {
	s := &fieldScanner{is: func(field dkim.Field) bool { return isSeal(field) || f.claimsToBeOurs(field) }}
	if _, err := m.WriteTo(s); err != nil && !errors.Is(err, errScanned) {
		return false, err
	}
	s.endField()
	return s.found, nil
}

// errScanned ends the writing to a fieldScanner.
var errScanned = errors.New("the header was scanned")

// maxScanned is the octets of a field that are looked at: a claim is at the start, or in what is left over.
const maxScanned = 64 << 10

// fieldScanner looks at one field after the other, of which it keeps one.
type fieldScanner struct {
	is      func(dkim.Field) bool
	field   []byte
	line    []byte // that has not ended yet
	cut     bool   // the field is longer than what is kept
	lineCut bool   // so is the line
	found   bool
}

func (s *fieldScanner) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n') + 1
		part := rest
		if end > 0 {
			part = rest[:end]
		}
		rest = rest[len(part):]
		kept := min(len(part), maxScanned-len(s.line))
		s.line, s.lineCut = append(s.line, part[:kept]...), s.lineCut || kept < len(part)
		if end > 0 && s.endLine() {
			return 0, errScanned
		}
	}
	return len(b), nil
}

// endLine takes a line; it is true at the end of the header, or once a field was found.
func (s *fieldScanner) endLine() bool {
	line, lineCut := s.line, s.lineCut
	s.line, s.lineCut = s.line[:0], false
	switch {
	case len(bytes.TrimRight(line, "\r\n")) == 0:
		return true
	case line[0] != ' ' && line[0] != '\t':
		s.endField()
	}
	kept := min(len(line), maxScanned-len(s.field))
	s.field, s.cut = append(s.field, line[:kept]...), s.cut || lineCut || kept < len(line)
	return s.found
}

func (s *fieldScanner) endField() {
	field := dkim.Field(s.field)
	isCut := s.cut && (field.Is("Authentication-Results") || isSeal(field))
	s.found = s.found || len(field) > 0 && (isCut || s.is(field))
	s.field, s.cut = s.field[:0], false
}
