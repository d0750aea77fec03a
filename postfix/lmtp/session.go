package lmtp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

const (
	maxLine  = 4096 // octets of a command; Postfix sends at most 2048
	maxFault = 20   // wrong commands, before we hang up
)

// session is one connection.
type session struct {
	server *Server
	conn   net.Conn
	in     *bufio.Reader
	out    *bufio.Writer

	greeted  bool
	told     bool // XFORWARD has come for the next message
	client   Client
	hasMail  bool
	envelope Envelope
	faults   int

	mu       sync.Mutex
	busy     bool // with a message
	stopping bool
}

func newSession(s *Server, conn net.Conn) *session {
	return &session{server: s, conn: conn, in: bufio.NewReaderSize(conn, 16<<10),
		out: bufio.NewWriterSize(conn, 4<<10)}
}

// stop ends a session: at once while it waits for a command, after the message otherwise.
func (c *session) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	if !c.busy {
		c.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// setBusy is false if the session is to end.
func (c *session) setBusy(busy bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = busy
	return !c.stopping
}

// wait gives the client time for its next octets, unless the session is to end.
func (c *session) wait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopping || c.busy {
		c.conn.SetReadDeadline(time.Now().Add(c.server.patience()))
	}
}

func (c *session) serve(ctx context.Context) {
	c.reply(220, "", c.server.Hostname+" LMTP postmend")
	for {
		line, err := c.readLine()
		switch {
		case errors.Is(err, errLongLine):
			c.fault(451, "4.5.2", "command line too long")
		case err != nil:
			c.reply(421, "4.3.2", "closing the connection")
			c.flush()
			return
		default:
			if !c.command(ctx, line) {
				c.flush()
				return
			}
		}
		if c.faults > maxFault {
			c.reply(421, "4.7.0", "too many errors")
			c.flush()
			return
		}
	}
}

var errLongLine = errors.New("line too long")

// readLine reads a command without its line end. Replies leave when nothing more has come: RFC 2920 section
// 3.2.
func (c *session) readLine() (string, error) {
	if c.in.Buffered() == 0 {
		if err := c.flush(); err != nil {
			return "", err
		}
	}
	long := false
	for {
		c.wait()
		line, err := c.in.ReadSlice('\n')
		long = long || len(line) > maxLine
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue // it was longer than maxLine
		case err != nil:
			return "", err
		case long:
			return "", errLongLine
		}
		return string(bytes.TrimRight(line, "\r\n")), nil
	}
}

// reply writes one line. Without an enhanced code, it has none (RFC 2034 section 4).
func (c *session) reply(code int, enhanced, text string) {
	if enhanced != "" {
		enhanced += " "
	}
	fmt.Fprintf(c.out, "%d %s%s\r\n", code, enhanced, text)
}

func (c *session) fault(code int, enhanced, text string) {
	c.faults++
	c.reply(code, enhanced, text)
}

func (c *session) flush() error {
	c.conn.SetWriteDeadline(time.Now().Add(c.server.patience()))
	return c.out.Flush()
}

// reset forgets the message, and its client: XFORWARD counts for one.
func (c *session) reset() {
	c.hasMail, c.told, c.envelope, c.client = false, false, Envelope{}, Client{}
}

// command is false if the session is over.
func (c *session) command(ctx context.Context, line string) bool {
	verb, rest, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	if strings.ContainsFunc(line, isControl) {
		c.fault(451, "4.5.2", "control character in a command")
		return true
	}
	switch verb {
	case "LHLO":
		c.hello(rest)
	case "XFORWARD":
		c.xforward(rest)
	case "MAIL":
		c.mail(rest)
	case "RCPT":
		c.rcpt(rest)
	case "DATA":
		return c.data(ctx, rest)
	case "RSET":
		c.reset()
		c.reply(250, "2.0.0", "Ok")
	case "NOOP":
		c.reply(250, "2.0.0", "Ok")
	case "VRFY":
		c.reply(252, "2.0.0", "send some mail, and see")
	case "QUIT":
		c.reply(221, "2.0.0", "Bye")
		return false
	case "HELO", "EHLO":
		c.fault(500, "5.5.1", "this is LMTP: say LHLO")
	default:
		c.fault(500, "5.5.1", "unknown command")
	}
	return true
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func (c *session) hello(name string) {
	if strings.TrimSpace(name) == "" {
		c.fault(501, "5.5.4", "LHLO needs a name")
		return
	}
	c.reset()
	c.greeted = true
	for _, line := range []string{c.server.Hostname, "PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE",
		"ENHANCEDSTATUSCODES"} {
		fmt.Fprintf(c.out, "250-%s\r\n", line)
	}
	fmt.Fprintf(c.out, "250 XFORWARD %s\r\n", strings.Join(attributes, " "))
}

func (c *session) xforward(rest string) {
	if !c.greeted || c.hasMail {
		c.fault(503, "5.5.1", "XFORWARD comes between LHLO and MAIL")
		return
	}
	if !parseXforward(rest, &c.client) {
		c.fault(501, "5.5.4", "syntax: XFORWARD NAME=VALUE ...")
		return
	}
	c.told = true
	c.reply(250, "2.0.0", "Ok")
}

// mail demands XFORWARD: without it, mail from anywhere would look like mail that was written on this host.
func (c *session) mail(rest string) {
	switch {
	case !c.greeted || c.hasMail:
		c.fault(503, "5.5.1", "MAIL comes once, after LHLO")
		return
	case !c.told || !c.client.isTold():
		c.reply(451, "4.3.5", "no XFORWARD: set lmtp_send_xforward_command = yes for this transport")
		return
	}
	envelope := Envelope{Client: c.client}
	if code, enhanced, text := parseMail(rest, &envelope); code != 0 {
		c.fault(code, enhanced, text)
		return
	}
	c.hasMail, c.envelope = true, envelope
	c.reply(250, "2.1.0", "Ok")
}

func (c *session) rcpt(rest string) {
	if !c.hasMail {
		c.fault(503, "5.5.1", "RCPT comes after MAIL")
		return
	}
	if len(c.envelope.Recipients) >= c.server.mostRecipients() {
		c.reply(452, "4.5.3", "too many recipients") // the client sends the message again for the others
		return
	}
	var r Recipient
	if code, enhanced, text := parseRcpt(rest, &r); code != 0 {
		c.fault(code, enhanced, text)
		return
	}
	c.envelope.Recipients = append(c.envelope.Recipients, r)
	c.reply(250, "2.1.5", "Ok")
}

// data takes the message. It is false if the session is over.
func (c *session) data(ctx context.Context, rest string) bool {
	switch {
	case rest != "":
		c.fault(501, "5.5.4", "DATA has no arguments")
		return true
	case len(c.envelope.Recipients) == 0:
		c.fault(503, "5.5.1", "DATA comes after an accepted RCPT") // RFC 2033 section 4.2
		return true
	}
	if !c.setBusy(true) {
		c.reply(421, "4.3.2", "closing the connection")
		return false
	}
	c.reply(354, "", "end with CRLF.CRLF")
	if c.flush() != nil {
		return false
	}
	envelope, content := c.envelope, &content{session: c, atStart: true}
	replies := c.server.Handle(ctx, &envelope, content)
	// The client sends all of it, whoever wants it.
	if _, err := io.Copy(io.Discard, content); err != nil {
		return false
	}
	for i := range envelope.Recipients {
		r := Reply{Enhanced: "4.3.0", Text: "internal error"}
		if i < len(replies) {
			r = replies[i]
		}
		c.reply(codeOf(r.Enhanced), r.Enhanced, r.Text)
	}
	c.reset()
	if !c.setBusy(false) {
		c.reply(421, "4.3.2", "closing the connection")
		return false
	}
	return true
}

// codeOf is the reply code for an enhanced status code. What has no class is deferred.
func codeOf(enhanced string) int {
	switch {
	case strings.HasPrefix(enhanced, "2."):
		return 250
	case strings.HasPrefix(enhanced, "5."):
		return 550
	}
	return 451
}
