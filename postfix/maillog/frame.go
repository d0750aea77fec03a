package maillog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strconv"
)

// logLine is a line as its program wrote it.
type logLine struct {
	at   int64  // Unix seconds
	tag  []byte // "postfix/smtpd[123]", or less where the log does not have it
	text []byte
}

// framing takes off lines what others have put around them: syslog daemons (RFC 3164, RFC 5424, each with
// or without "<PRI>"), journalctl in its forms, Docker's and Kubernetes's log drivers, docker compose.
// Lines of several forms may follow each other.
type framing struct {
	clock  clock
	inner  clock // of a second time stamp, within the first
	record journalRecord
}

// maxFrames bounds the frames within each other.
const maxFrames = 4

// read reads a line. It is false for a line without a time, and for one that only continues a record.
func (f *framing) read(line []byte) (l logLine, ok bool) {
	if f.record.open || bytes.HasPrefix(line, []byte("__CURSOR=")) {
		return f.record.add(line)
	}
	return f.unwrap(line, maxFrames)
}

func (f *framing) unwrap(line []byte, depth int) (l logLine, ok bool) {
	if len(line) == 0 || depth == 0 {
		return l, false
	}
	switch line[0] {
	case '<':
		end := bytes.IndexByte(line, '>')
		if end < 0 || end > 4 {
			return l, false
		}
		return f.unwrap(line[end+1:], depth-1)
	case '{':
		return f.unwrapJSON(line, depth)
	case '1':
		if text, found := bytes.CutPrefix(line, []byte("1 ")); found {
			return f.readRFC5424(text)
		}
	case 0x1e: // RFC 7464, journalctl -o json-seq
		return f.unwrap(line[1:], depth-1)
	case '[', 0x1b:
		return f.unwrapPrefix(line, depth)
	}
	at, rest, ok := f.clock.read(line)
	if !ok {
		return f.unwrapPrefix(line, depth)
	}
	l = f.afterStamp(rest, depth)
	l.at = at
	return l, true
}

// afterStamp reads what follows a time stamp: a container's line, a second stamp, or a host and a tag.
func (f *framing) afterStamp(rest []byte, depth int) logLine {
	for _, stream := range [...]string{"stdout ", "stderr "} { // CRI: "TIME stdout F TEXT", P for a part
		if text, found := bytes.CutPrefix(rest, []byte(stream)); found && len(text) > 2 && text[1] == ' ' {
			return f.within(text[2:], depth)
		}
	}
	if len(rest) > 0 && (isDigit(rest[0]) || rest[0] == '<' || isMonth(rest)) { // docker logs --timestamps
		return f.within(rest, depth)
	}
	return splitTag(rest)
}

// within reads a line within a frame that has a time of its own. The line may lack one.
func (f *framing) within(text []byte, depth int) logLine {
	frame := framing{clock: f.inner}
	frame.clock.latest, frame.clock.zone = f.clock.latest, f.clock.zone
	l, ok := frame.unwrap(text, depth-1)
	f.inner = frame.clock
	if !ok {
		return splitTag(text)
	}
	return l
}

// unwrapPrefix takes off "name-1  | " of docker compose, which may be coloured, "[pod/name/container] " of
// kubectl, and "data: " of journalctl -o json-sse.
func (f *framing) unwrapPrefix(line []byte, depth int) (l logLine, ok bool) {
	const longest = 100
	start := line[:min(len(line), longest)]
	switch bar := bytes.IndexByte(start, '|'); {
	case line[0] == '[':
		_, line, ok = bytes.Cut(line, []byte("] "))
	case bar > 0:
		line, ok = line[bar+1:], true
	default:
		line, ok = bytes.CutPrefix(line, []byte("data: "))
	}
	if !ok {
		return l, false
	}
	line = bytes.TrimLeft(line, " ")
	if colour, found := bytes.CutPrefix(line, []byte("\x1b[")); found {
		_, line, _ = bytes.Cut(colour, []byte("m"))
		line = bytes.TrimLeft(line, " ")
	}
	return f.unwrap(line, depth-1)
}

// readRFC5424 reads "TIME HOST APP PROCID MSGID [ID NAME="VALUE"] TEXT" (RFC 5424 section 6).
func (f *framing) readRFC5424(line []byte) (l logLine, ok bool) {
	at, rest, ok := f.clock.read(line)
	if !ok {
		return l, false
	}
	l.at = at
	var fields [4][]byte // host, app, procid, msgid
	for n := range fields {
		if fields[n], rest, ok = bytes.Cut(rest, []byte(" ")); !ok {
			return l, false
		}
	}
	l.tag = fields[1]
	if l.text, ok = bytes.CutPrefix(rest, []byte("- ")); !ok {
		if l.text, ok = skipElements(rest); !ok {
			return l, false
		}
	}
	l.text = bytes.TrimPrefix(bytes.TrimLeft(l.text, " "), []byte("\ufeff"))
	return l, true
}

// skipElements gives what follows structured data.
func skipElements(text []byte) (rest []byte, ok bool) {
	quoted := false
	for n := 0; n < len(text); n++ {
		switch c := text[n]; {
		case quoted && c == '\\':
			n++
		case c == '"':
			quoted = !quoted
		case !quoted && c == ' ' && n > 0 && text[n-1] == ']':
			return text[n+1:], true
		}
	}
	return nil, false
}

// splitTag reads "HOST TAG: TEXT", or the same without a host. What lacks a tag gives nothing.
func splitTag(text []byte) logLine {
	word, rest, _ := bytes.Cut(text, []byte(" "))
	if tag, found := bytes.CutSuffix(word, []byte(":")); found {
		return logLine{tag: tag, text: rest}
	}
	colon := bytes.IndexByte(rest, ':')
	if colon < 0 || colon+2 >= len(rest) || rest[colon+1] != ' ' {
		return logLine{}
	}
	return logLine{tag: rest[:colon], text: rest[colon+2:]}
}

// jsonLine is a line of journalctl -o json, or of Docker's log driver json-file.
type jsonLine struct {
	Microseconds string      `json:"__REALTIME_TIMESTAMP"`
	Identifier   journalText `json:"SYSLOG_IDENTIFIER"`
	Message      journalText `json:"MESSAGE"`
	Log          string      `json:"log"`
	Time         string      `json:"time"`
}

// journalText is a string, or an array of octets if it is not printable.
type journalText []byte

func (t *journalText) UnmarshalJSON(encoded []byte) error {
	var text string
	if json.Unmarshal(encoded, &text) == nil {
		*t = []byte(text)
		return nil
	}
	var octets []int
	if json.Unmarshal(encoded, &octets) == nil {
		for _, octet := range octets {
			*t = append(*t, byte(octet))
		}
	}
	return nil // of several values none is Postfix's
}

func (f *framing) unwrapJSON(line []byte, depth int) (l logLine, ok bool) {
	var j jsonLine
	if json.Unmarshal(line, &j) != nil {
		return l, false
	}
	if j.Microseconds != "" {
		at, ok := seconds(j.Microseconds)
		return logLine{at, j.Identifier, j.Message}, ok && len(j.Message) > 0
	}
	text := bytes.TrimRight([]byte(j.Log), "\r\n")
	at, _, ok := f.clock.read([]byte(j.Time + " "))
	if !ok {
		return f.unwrap(text, depth-1)
	}
	l = f.within(text, depth)
	l.at = at
	return l, true
}

// seconds reads microseconds.
func seconds(microseconds string) (at int64, ok bool) {
	n, err := strconv.ParseInt(microseconds, 10, 64)
	return n / 1_000_000, err == nil
}

// journalRecord collects the fields of a record of journalctl -o export: "NAME=VALUE", or NAME, a length
// of 8 octets, the lowest first, and as many octets; an empty line ends it (systemd's
// JOURNAL_EXPORT_FORMATS).
type journalRecord struct {
	open    bool
	line    logLine
	name    string // of a field in octets that is being read
	octets  []byte
	missing int // of octets; -1 as long as the length is not known
}

// maxField bounds a field in octets. A longer one is not Postfix's; the next record begins anew.
const maxField = 64 << 10

func (r *journalRecord) add(line []byte) (l logLine, ok bool) {
	if bytes.HasPrefix(line, []byte("__CURSOR=")) {
		*r = journalRecord{open: true}
		return l, false
	}
	if r.name != "" {
		r.addOctets(line)
		return l, false
	}
	if len(line) == 0 {
		l, ok = r.line, r.line.at != 0 && len(r.line.text) > 0
		*r = journalRecord{}
		return l, ok
	}
	name, value, found := bytes.Cut(line, []byte("="))
	if found {
		r.set(string(name), bytes.Clone(value))
	} else {
		r.name, r.missing, r.octets = string(name), -1, nil
	}
	return l, false
}

// addOctets takes a line of a field in octets. The line end is one of them, or ends the field.
func (r *journalRecord) addOctets(line []byte) {
	r.octets = append(append(r.octets, line...), '\n')
	if r.missing < 0 && len(r.octets) >= 8 {
		length := binary.LittleEndian.Uint64(r.octets)
		if length > maxField {
			*r = journalRecord{}
			return
		}
		r.missing = 8 + int(length)
	}
	switch {
	case r.missing >= 0 && len(r.octets) > r.missing:
		r.set(r.name, r.octets[8:r.missing])
		r.name = ""
	case len(r.octets) > maxField+maxLine:
		*r = journalRecord{}
	}
}

func (r *journalRecord) set(name string, value []byte) {
	switch name {
	case "__REALTIME_TIMESTAMP":
		r.line.at, _ = seconds(string(value))
	case "SYSLOG_IDENTIFIER":
		r.line.tag = value
	case "MESSAGE":
		r.line.text = value
	}
}
