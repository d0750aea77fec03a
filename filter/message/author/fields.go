package author

import (
	"bytes"
	"slices"
	"strings"

	"postmend/dkim"
)

// Fields are the values of a message's From: fields, raw.
type Fields []string

// Find gives what stands in the message's From: fields, as the one reader or the other finds them. tail is
// what follows the header.
//
// Beside the fields themselves, these are lines that only some readers take for one: what follows a CR that
// is no part of a line end, in any field, and what stands behind the header as Postfix ends it
// (dkim.SplitHeader) and before the first line that is empty to all. The names of such lines are taken for
// From: whatever invisible or foreign octets they have, since some readers trim them away.
func Find(header dkim.Header, tail []byte) (values Fields) {
	for _, field := range header {
		if field.Is("From") {
			values = append(values, string(field.Value()))
		}
		if bytes.IndexByte(field, '\r') >= 0 && field.HasBareCR() {
			values = appendAfterCRs(values, field)
		}
	}
	return appendLoose(values, header, tail)
}

// appendLoose adds what stands in the lines behind the header. What has not the form of a field continues the
// one before it.
func appendLoose(values []string, header dkim.Header, tail []byte) []string {
	var field []byte
	isCRLF := len(header) > 0 && bytes.HasSuffix(header[0], []byte("\r\n"))
	for isFirst := true; len(tail) > 0; isFirst = false {
		end := bytes.IndexByte(tail, '\n') + 1
		if end == 0 {
			end = len(tail)
		}
		line := tail[:end]
		tail = tail[end:]
		if string(line) == "\n" || isCRLF && string(line) == "\r\n" {
			break
		}
		if n := len(header); isFirst && n > 0 && header[n-1].Is("From") {
			field = slices.Clone(header[n-1])
		}
		if isNewField := len(appendFrom(nil, line)) > 0 || hasFieldName(line); isNewField {
			values = appendPieces(values, field)
			field = nil
		}
		if len(field) > 0 && line[0] != ' ' && line[0] != '\t' {
			field = append(field, ' ')
		}
		field = append(field, line...)
	}
	return appendPieces(values, field)
}

// appendPieces adds a field, and what stands in it after a CR, as far as they could be a From:.
func appendPieces(values []string, field []byte) []string {
	values = appendFrom(values, field)
	if bytes.IndexByte(field, '\r') >= 0 {
		values = appendAfterCRs(values, field)
	}
	return values
}

// appendAfterCRs takes each CR for a line end. What stands behind the first such From: is also read as a
// whole, since lines that start with a blank continue it.
func appendAfterCRs(values []string, field []byte) []string {
	found := len(values)
	for line := range bytes.SplitAfterSeq(field, []byte("\r")) {
		values = appendFrom(values, line)
		if len(values) == found+1 {
			values = appendFrom(values, field)
			found = -1
		}
		if found >= 0 {
			field = field[len(line):]
		}
	}
	return values
}

// appendFrom adds the value of a line that could be a From: field.
func appendFrom(values []string, line []byte) []string {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) > maxOddName {
		return values
	}
	visible := strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return -1
		}
		return r
	}, string(name))
	if strings.EqualFold(visible, "From") {
		values = append(values, string(value))
	}
	return values
}

// maxOddName bounds the name of such a line, in octets.
const maxOddName = 64

// hasFieldName tells whether a line starts as fields do.
func hasFieldName(line []byte) bool {
	header, _ := dkim.SplitHeader(line)
	return len(header) > 0
}

// TooLong tells whether the fields are longer than what is read of them: 64 KiB, or 8 KiB that can be read in
// several ways. Lists of authors can be long, but not what takes guessing.
func (f Fields) TooLong() bool {
	size, odd := 0, 0
	for _, value := range f {
		size += len(value)
	}
	if size <= maxOddFrom {
		return false
	}
	for _, value := range f {
		if _, ok := plainDomains(value); !ok {
			odd += len(value)
		}
	}
	return size > maxInput || odd > maxOddFrom
}
