package dkim

import "strings"

// maxLine is the octets of a line, where a fold is possible (RFC 5322 section 2.1.1).
const maxLine = 78

// folder writes tags and begins a new line where one would get too long. It counts a tab as eight octets.
type folder struct {
	b      []byte
	column int
}

// tag begins a new line for a tag that does not fit as a whole.
func (f *folder) tag(t Tag) {
	if f.column == 0 {
		f.column = len(f.b)
	} else {
		f.b = append(f.b, ';')
		f.column++
	}
	length := 1 + len(t.Name) + 1 + len(t.Value) + 1
	if f.column+length <= maxLine {
		f.b = append(f.b, ' ')
		f.column++
	} else {
		f.fold()
	}
	f.b = append(append(f.b, t.Name...), '=')
	f.column += len(t.Name) + 1
	if t.Name == "h" {
		f.names(t.Value)
		return
	}
	f.b = append(f.b, t.Value...)
	f.column += len(t.Value)
}

func (f *folder) fold() {
	f.b = append(f.b, "\r\n\t"...)
	f.column = 8
}

// names writes the value of h=, which may be folded after a colon.
func (f *folder) names(list string) {
	for n, name := range strings.SplitAfter(list, ":") {
		if f.column+len(name) >= maxLine && n > 0 {
			f.fold()
		}
		f.b = append(f.b, name...)
		f.column += len(name)
	}
}

// base64 writes the value of b=, which may be folded anywhere.
func (f *folder) base64(text string) {
	for len(text) > 0 {
		n := min(len(text), maxLine-f.column)
		if n <= 0 {
			f.fold()
			continue
		}
		f.b = append(f.b, text[:n]...)
		f.column += n
		text = text[n:]
	}
}
