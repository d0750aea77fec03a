package milter

import (
	"bytes"
	"errors"
	"io"
	"time"
)

// message has one message judged, whose first packet was read, and answers at its end.
func (c *conversation) message() error {
	c.inMail = true // also if the MTA sent no MAIL
	c.until = time.Now().Add(c.longest)
	content := &content{c: c}
	verdict := c.judge(c.ctx, &c.env, content)
	_, err := io.Copy(io.Discard, content) // the MTA sends all of it, whoever wants it
	c.until = time.Time{}
	switch {
	case errors.Is(err, ErrAborted):
		c.forget(cmdMail)
		return nil
	case err != nil:
		return err
	}
	c.forget(cmdMail)
	c.answer(verdict)
	return c.flush()
}

// answer writes a verdict. Fields are deleted from the last to the first, because their numbers change below
// one that is gone.
func (c *conversation) answer(v Verdict) {
	if v.Reply != "" {
		c.put(answerReply, cString(v.Reply))
		return
	}
	for i := len(v.Delete) - 1; i >= 0; i-- {
		c.put(changeHeader, number(v.Delete[i].N), cString(v.Delete[i].Name), cString(""))
	}
	for i := len(v.Insert) - 1; i >= 0; i-- {
		f := v.Insert[i]
		value := string(bytes.ReplaceAll([]byte(f.Value), []byte("\r\n"), []byte("\n")))
		if c.protocol&leadingBlank != 0 {
			value = " " + value // otherwise the MTA puts one there
		}
		c.put(changeInsert, number(belowReceived), cString(f.Name), cString(value))
	}
	c.put(answerContinue)
}

// belowReceived is the place of a new field: 0 is above the Received: field that Postfix itself has written.
const belowReceived = 1

// content is a message as the MTA sends it, read packet by packet. Only one packet is in memory.
type content struct {
	c    *conversation
	rest []byte // of the text of the last packet
	text []byte // of a header field; its memory is used again
	body bool   // the header has ended
	err  error  // sticks
}

func (r *content) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err == nil {
			r.err = r.advance()
		}
		if r.err != nil && len(r.rest) == 0 {
			return 0, r.err
		}
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// advance takes the next packet. At the end of the message it gives io.EOF, perhaps beside the last text.
func (r *content) advance() error {
	p, err := r.c.next()
	if err != nil {
		return cutShort(err)
	}
	switch p.command {
	case cmdMacro:
		return r.c.remember(p.data)
	case cmdHeader:
		if r.body {
			return malformed("a header field behind the header")
		}
		if err := r.field(p.data); err != nil {
			return err
		}
	case cmdEndHeader:
		r.endHeader()
	case cmdBody:
		r.bodyText(p.data)
	case cmdEndBody:
		r.bodyText(p.data)
		return io.EOF
	case cmdUnknownCmd:
	case cmdAbort:
		return ErrAborted
	case cmdMail, cmdConnect, cmdHELO, cmdQuit, cmdQuitReuse: // it is over without an abort
		r.c.again = &p
		return ErrAborted
	default:
		return malformed("command %q within a message", p.command)
	}
	return r.c.proceed(p.command)
}

// field writes a header field as it stood in the message.
func (r *content) field(data []byte) error {
	name, rest, ok := cutString(data)
	value, _, okValue := cutString(rest)
	if !ok || !okValue {
		return malformed("a header field without its end")
	}
	r.text = append(append(r.text[:0], name...), ':')
	if r.c.protocol&leadingBlank == 0 {
		r.text = append(r.text, ' ') // the MTA has eaten it
	}
	for i := 0; i < len(value); i++ { // Postfix has LF between the lines
		if value[i] == '\n' && (i == 0 || value[i-1] != '\r') {
			r.text = append(r.text, '\r')
		}
		r.text = append(r.text, value[i])
	}
	r.text = append(r.text, "\r\n"...)
	r.rest = r.text
	return nil
}

func (r *content) endHeader() {
	if !r.body {
		r.body = true
		r.rest = append(r.text[:0], "\r\n"...)
	}
}

func (r *content) bodyText(data []byte) {
	r.endHeader()
	if len(r.rest) == 0 {
		r.rest = data // until the next packet
		return
	}
	r.rest = append(r.rest, data...)
}
