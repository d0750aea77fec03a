package dkim

import "bytes"

// Field is one header field as it is in the message: name, colon, value with its folds, and the final line
// end.
type Field []byte

// Name is the field's name as it is written, without blanks before the colon.
func (f Field) Name() string { return string(f.name()) }

func (f Field) name() []byte {
	end := bytes.IndexByte(f, ':')
	for end > 0 && (f[end-1] == ' ' || f[end-1] == '\t') {
		end--
	}
	return f[:max(end, 0)]
}

// Is tells whether the field has the given name, in any case of letters (RFC 5322 section 1.2.2).
func (f Field) Is(name string) bool {
	if len(f) <= len(name) || !sameName(f[:len(name)], name) {
		return false
	}
	rest := bytes.TrimLeft(f[len(name):], " \t")
	return len(rest) > 0 && rest[0] == ':'
}

// sameName compares names in any case of letters.
func sameName(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if lower(c) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// Value is what follows the colon, raw: with its folds and its line end.
func (f Field) Value() []byte { return f[bytes.IndexByte(f, ':')+1:] }

// Unfold joins the lines of a field's value, or of its beginning (RFC 5322 section 2.2.3).
func Unfold(value []byte) string {
	value = bytes.ReplaceAll(bytes.ReplaceAll(value, []byte("\r"), nil), []byte("\n"), nil)
	return string(bytes.TrimSpace(value))
}

// HasBareCR finds a CR that does not belong to a line end, which verifiers read in different ways.
func (f Field) HasBareCR() bool {
	for i, c := range f {
		if c == '\r' && i+1 < len(f) && f[i+1] != '\n' && f[i+1] != '\r' {
			return true
		}
	}
	return false
}

// Header is the fields of a message, from top to bottom.
type Header []Field

// SplitHeader cuts the beginning of a message into header fields, without copying. n is their length: raw[n:]
// is the empty line, if there is one, and the body.
//
// The header ends where it does for Postfix's cleanup(8): before an empty line, or before a line that is
// neither a field nor the continuation of one. A line ends with LF; CRs directly before it belong to the
// line end.
func SplitHeader(raw []byte) (header Header, n int) {
	// Counted first: for fields of three octets, a list that grows would take many times their size.
	count := 0
	for end := fieldEnd(raw, 0); end > 0; end = fieldEnd(raw, n) {
		n = end
		count++
	}
	if count > 0 {
		header = make(Header, 0, count)
	}
	for start := 0; start < n; {
		end := fieldEnd(raw, start)
		header = append(header, raw[start:end:end])
		start = end
	}
	return header, n
}

// fieldEnd is where the field ends that starts at raw[start:], with its continuations; 0 if there is none.
func fieldEnd(raw []byte, start int) int {
	for n := start; n < len(raw); {
		end := bytes.IndexByte(raw[n:], '\n')
		if end < 0 {
			end = len(raw)
		} else {
			end += n + 1
		}
		line := raw[n:end]
		switch isContinuation := n > 0 && (line[0] == ' ' || line[0] == '\t'); {
		case n == start && !isField(line):
			return 0
		case n > start && !isContinuation:
			return n
		}
		n = end
	}
	if start == len(raw) {
		return 0
	}
	return len(raw)
}

// isField follows Postfix's is_header(): a name of printable characters, blanks, a colon.
func isField(line []byte) bool {
	name := Field(line).name()
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(name) > 0
}
