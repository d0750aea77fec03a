// Package milter speaks the protocol by which an MTA asks a mail filter about a message at SMTP time, as
// Postfix does (MILTER_README, milter_protocol 2 to 6): one conversation on one connection. What is decided
// about a message is the caller's concern.
//
// Nothing but the end of a message is ever answered with more than "continue", and that never with "accept":
// after an "accept" and a refusal at the end of data, Postfix before 3.11.6, 3.10.13 and 3.9.14 lets the next
// message of the SMTP session past the milter.
package milter

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// Envelope is what the MTA tells about a message before its content.
type Envelope struct {
	ClientName    string // as the MTA writes it, also [192.0.2.1]; "" is not known
	ClientAddress string // an IP address; "" is not known, or not one
	ClientPort    uint16 // 0 is not known
	HELO          string // "" is not known
	Sender        string // reverse-path as it was given, without its brackets
	// Recipients before any alias was expanded, as they were given; at most 1000 are kept.
	Recipients []string

	macros map[byte]map[string]string // by the command that they came before
}

// Macro gives a macro's latest value, such as "i" or "auth_authen"; "" if the MTA did not send it.
func (e *Envelope) Macro(name string) string {
	for i := len(stages) - 1; i >= 0; i-- {
		if value, ok := e.macros[stages[i]][name]; ok {
			return value
		}
	}
	return ""
}

// Field is a header field that is put below the MTA's own Received: field. Its value has LF or CRLF between
// its lines, and none at its end.
type Field struct{ Name, Value string }

// Position is a header field that is deleted: the nth of its name from the top, the first being 1.
type Position struct {
	Name string
	N    int
}

// Verdict is what becomes of a message. The zero value lets it go on as it is.
type Verdict struct {
	// Reply rejects the message: an SMTP reply of class 4 or 5, such as "550 5.7.1 text". "" lets it go on.
	Reply  string
	Delete []Position // from the top to the bottom
	Insert []Field    // in the order in which they will stand
}

// Judge decides about a message. The content is its header and body, as one text; fields end with CRLF. The
// reader fails with ErrAborted if the message is abandoned, and with another error if the connection broke:
// then nobody waits for a verdict.
type Judge func(ctx context.Context, env *Envelope, content io.Reader) Verdict

// ErrAborted says that the MTA abandoned a message.
var ErrAborted = errors.New("the MTA abandoned the message")

const (
	// slow is how long the MTA may take to begin, to go on within a packet or a content, and to read an
	// answer. Between two commands it may be silent for ever: it waits for its SMTP client, who could else
	// wait until the milter has gone, and send a message that nobody judges.
	slow = time.Minute
	// longest is how long it may take to send a content.
	longest = 5 * time.Minute

	maxRecipients = 1000 // that are kept (smtpd_recipient_limit)
)

// conversation is one connection.
type conversation struct {
	wire
	ctx      context.Context
	conn     net.Conn
	judge    Judge
	slow     time.Duration
	longest  time.Duration
	protocol uint32 // the steps that were agreed on
	env      Envelope
	again    *packet // was read, and is not dealt with yet

	isOpen   bool // the negotiation is over
	inMail   bool // since MAIL
	inPacket bool
	until    time.Time // the end of the time for a content; zero outside of one
}

// Serve holds one conversation, until the MTA ends it. If ctx ends, it goes on to the end of the message that
// is under way. The error says why it ended early; it is nil if the MTA just closed the connection.
func Serve(ctx context.Context, conn net.Conn, judge Judge) error {
	return newConversation(ctx, conn, judge).serve()
}

func newConversation(ctx context.Context, conn net.Conn, judge Judge) *conversation {
	c := &conversation{ctx: ctx, conn: conn, judge: judge, slow: slow, longest: longest}
	c.wire = wire{r: bufio.NewReaderSize(patient{c}, 16<<10), w: patient{c}}
	c.env.macros = map[byte]map[string]string{}
	return c
}

func (c *conversation) serve() error {
	stop := context.AfterFunc(c.ctx, func() { c.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err := c.negotiate()
	c.isOpen = true
	for err == nil {
		var p packet
		if p, err = c.next(); err == nil {
			err = c.do(p)
		}
	}
	if errors.Is(err, io.EOF) || c.ctx.Err() != nil && !c.inMail {
		return nil
	}
	return err
}

// next gives the next packet.
func (c *conversation) next() (packet, error) {
	if p := c.again; p != nil {
		c.again = nil
		return *p, nil
	}
	c.inPacket = false
	return c.read()
}

// patient is the connection with its time limits.
type patient struct{ c *conversation }

func (p patient) Read(b []byte) (n int, err error) {
	c := p.c
	for {
		var end time.Time // none
		if !c.isOpen || c.inPacket || !c.until.IsZero() {
			end = time.Now().Add(c.slow)
		}
		if !c.until.IsZero() && c.until.Before(end) {
			end = c.until
		}
		c.conn.SetReadDeadline(end)
		if stopped := c.ctx.Err(); stopped != nil && !c.inMail {
			return 0, stopped
		}
		n, err = c.conn.Read(b)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && (end.IsZero() || time.Now().Before(end)) {
			continue // the end of ctx woke us, perhaps after the line above saw it
		}
		c.inPacket = true
		return n, err
	}
}

func (p patient) Write(b []byte) (int, error) {
	p.c.conn.SetWriteDeadline(time.Now().Add(p.c.slow))
	return p.c.conn.Write(b)
}

// negotiate agrees on a version, on the changes that we may make, and on what is sent to us.
func (c *conversation) negotiate() error {
	p, err := c.next()
	if err != nil {
		return err
	}
	if p.command != cmdNegotiate || len(p.data) < 12 {
		return malformed("no negotiation at the start")
	}
	theirs := binary.BigEndian.Uint32(p.data)
	actions, steps := binary.BigEndian.Uint32(p.data[4:]), binary.BigEndian.Uint32(p.data[8:])
	if theirs < oldVersion {
		return malformed("version %d", theirs)
	}
	const needed = actionAddHeaders | actionChangeHeaders
	if actions&needed != needed {
		return malformed("the MTA lets no milter change header fields (actions %#x)", actions)
	}
	c.protocol = steps & wantedSteps
	actions &= needed | actionChooseMacros
	answer := [][]byte{number(int(min(theirs, version))), number(int(actions)), number(int(c.protocol))}
	if actions&actionChooseMacros != 0 {
		for _, m := range wantedMacros {
			answer = append(answer, number(int(m.stage)), cString(m.names))
		}
	}
	c.put(answerNegotiate, answer...)
	return c.flush()
}

// do deals with one command outside of a content.
func (c *conversation) do(p packet) error {
	switch p.command {
	case cmdMacro:
		return c.remember(p.data)
	case cmdConnect:
		c.forget(cmdHELO)
		if err := c.env.connect(p.data); err != nil {
			return err
		}
	case cmdHELO:
		name, _, ok := cutString(p.data)
		if !ok {
			return malformed("HELO without its end")
		}
		c.env.HELO = name
	case cmdMail:
		path, _, ok := cutString(p.data)
		if !ok {
			return malformed("MAIL without its end")
		}
		c.forget(cmdRecipient)
		c.env.Sender, c.inMail = withoutBrackets(path), true
	case cmdRecipient:
		path, _, ok := cutString(p.data)
		if !ok {
			return malformed("RCPT without its end")
		}
		if len(c.env.Recipients) < maxRecipients {
			c.env.Recipients = append(c.env.Recipients, withoutBrackets(path))
		}
	case cmdData, cmdUnknownCmd:
	case cmdHeader, cmdEndHeader, cmdBody, cmdEndBody:
		c.again = &p
		return c.message()
	case cmdAbort:
		c.forget(cmdMail)
		return nil
	case cmdQuit:
		return io.EOF
	case cmdQuitReuse:
		c.env = Envelope{macros: map[byte]map[string]string{}}
		c.inMail = false
		return nil
	default:
		return malformed("unknown command %q", p.command)
	}
	return c.proceed(p.command)
}

// proceed answers "continue", if the MTA waits for an answer.
func (c *conversation) proceed(command byte) error {
	if c.protocol&noReply(command) != 0 {
		return nil
	}
	c.put(answerContinue)
	return c.flush()
}

// stages are the commands that macros come before, in the order of an SMTP session.
const stages = "CHMRTNE"

// forget drops all that is known from a stage on: macros, which come before the command of their stage, and
// the envelope.
func (c *conversation) forget(stage byte) {
	from := strings.IndexByte(stages, stage)
	for i := from; i < len(stages); i++ {
		delete(c.env.macros, stages[i])
	}
	if from <= strings.IndexByte(stages, cmdHELO) {
		c.env.HELO = ""
	}
	c.env.Sender, c.env.Recipients, c.inMail = "", nil, false
}

// remember keeps the macros of a stage; those of other commands do not matter.
func (c *conversation) remember(data []byte) error {
	if len(data) == 0 {
		return malformed("macros of no command")
	}
	stage, data := data[0], data[1:]
	if strings.IndexByte(stages, stage) < 0 {
		return nil
	}
	macros := map[string]string{}
	for len(data) > 0 {
		name, rest, ok := cutString(data)
		value, rest, okValue := cutString(rest)
		if !ok || !okValue {
			return malformed("macros without their end")
		}
		if len(macros) < maxMacros {
			macros[strings.Trim(name, "{}")] = value
		}
		data = rest
	}
	c.env.macros[stage] = macros
	return nil
}

// maxMacros bounds the macros of a stage that are kept.
const maxMacros = 50

// connect reads what is known of the SMTP client.
func (e *Envelope) connect(data []byte) error {
	name, rest, ok := cutString(data)
	if !ok || len(rest) == 0 {
		return malformed("a client without its end")
	}
	e.ClientName, e.ClientAddress, e.ClientPort = name, "", 0
	family, rest := rest[0], rest[1:]
	if family != '4' && family != '6' { // unknown, or a Unix-domain socket
		return nil
	}
	if len(rest) < 2 {
		return malformed("a client without its port")
	}
	address, _, ok := cutString(rest[2:])
	if !ok {
		return malformed("a client address without its end")
	}
	e.ClientAddress, e.ClientPort = address, binary.BigEndian.Uint16(rest)
	return nil
}

func withoutBrackets(path string) string {
	if inner, ok := strings.CutPrefix(path, "<"); ok {
		return strings.TrimSuffix(inner, ">")
	}
	return path
}
