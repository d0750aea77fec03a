package reinject

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// RFC 5321 section 4.5.3.1.5 allows 512 octets for a reply line; real servers send more, but not this much.
const (
	maxReplyLine  = 2048 // octets, line end included
	maxReplyLines = 100
)

// reply is a server's answer, without codes and separators.
type reply struct {
	code  int
	lines []string
}

// readReply reads one reply (RFC 5321 section 4.2). The reader's buffer limits the line, so it must have
// maxReplyLine octets.
func readReply(in *bufio.Reader) (reply, error) {
	var r reply
	for len(r.lines) < maxReplyLines {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return reply{}, fmt.Errorf("reply line over %d octets", maxReplyLine)
		case errors.Is(err, io.EOF):
			return reply{}, fmt.Errorf("the server closed the connection: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return reply{}, err
		}
		code, more, text, ok := parseReplyLine(bytes.TrimRight(line, "\r\n"))
		if !ok {
			return reply{}, &malformed{line: printable(line)}
		}
		if len(r.lines) > 0 && code != r.code {
			return reply{}, fmt.Errorf("reply changes its code from %d to %d", r.code, code)
		}
		r.code = code
		r.lines = append(r.lines, text)
		if !more {
			return r, nil
		}
	}
	return reply{}, fmt.Errorf("reply of more than %d lines", maxReplyLines)
}

// malformed is the error for an answer that is not a reply.
type malformed struct{ line string }

func (m *malformed) Error() string { return fmt.Sprintf("not an SMTP reply: %q", m.line) }

func parseReplyLine(line []byte) (code int, more bool, text string, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, false, "", false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, false, "", true
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, "", false
	}
	return code, line[3] == '-', string(line[4:]), true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// words gives the enhanced status code, and the text without it: RFC 2034 section 4 repeats it in each line.
func (r reply) words() (enhanced, text string) {
	var b strings.Builder
	for i, line := range r.lines {
		first, rest, _ := strings.Cut(line, " ")
		if i == 0 && isEnhanced(first, r.code) {
			enhanced = first
		}
		if enhanced != "" && first == enhanced {
			line = rest
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(line)
		if b.Len() > maxText {
			break
		}
	}
	return enhanced, printable(b.String())
}

// isEnhanced tells whether s is class.subject.detail (RFC 3463 section 2) of the class that the reply code
// has.
func isEnhanced(s string, code int) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || int(s[0]-'0') != code/100 {
		return false
	}
	for _, part := range parts {
		if len(part) < 1 || len(part) > 3 || strings.Trim(part, "0123456789") != "" {
			return false
		}
	}
	return true
}

// refusal is the reply as the error of a stage.
func (r reply) refusal(stage string) *Error {
	e := &Error{Stage: stage, Code: r.code}
	e.Enhanced, e.Text = r.words()
	return e
}

// queueID finds Postfix's "queued as ID". It ignores what does not look like a queue id.
func (r reply) queueID() string {
	_, text := r.words()
	_, after, found := strings.Cut(text, "queued as ")
	id, _, _ := strings.Cut(after, " ")
	if !found || len(id) > 32 {
		return ""
	}
	for i := range len(id) {
		if c := id[i]; !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'z') {
			return ""
		}
	}
	return id
}

// extensions are the lines of an EHLO reply: keywords in upper case, with their parameters.
func (r reply) extensions() map[string]string {
	offered := map[string]string{}
	for _, line := range r.lines[1:] {
		// Servers before RFC 2554 wrote "AUTH=", and some write it in addition.
		line = strings.Replace(strings.ToUpper(line), "AUTH=", "AUTH ", 1)
		keyword, parameters, _ := strings.Cut(line, " ")
		if earlier := offered[keyword]; earlier != "" {
			parameters = earlier + " " + parameters
		}
		offered[keyword] = parameters
	}
	return offered
}
