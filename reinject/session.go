package reinject

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"
)

// session is one connection to the server.
type session struct {
	target     *smtpTarget
	encryption encryption // the target's, or none if opportunistic TLS failed
	ctx        context.Context
	dialled    net.Conn // as it was before TLS
	conn       net.Conn
	in         *bufio.Reader
	out        *bufio.Writer
	offered    map[string]string // extensions of the last EHLO
	unwatch    func() bool
	parted     bool // QUIT was sent with the final dot
	mute       bool // no QUIT can be sent: within DATA, AUTH or a TLS handshake
	result     Result

	reusable  bool // its message was taken, and the next one may follow
	idleSince time.Time
}

// outBuffer holds a whole envelope, so that it leaves in one write: with several, Nagle's algorithm and
// delayed acknowledgements can cost 40 ms a message.
const outBuffer = 32 << 10 // octets

// pipelineWindow bounds the commands that are sent before their replies are read. Otherwise client and server
// could wait for each other for ever (RFC 2920 section 3.1).
const pipelineWindow = 50

// open connects, and returns when MAIL may be sent.
//
// If opportunistic TLS fails, it connects again and continues in clear text (RFC 7435 section 3), as smtp(8)
// does. Otherwise a server that offers only TLS 1.0, or has lost its certificate, would get no mail at all.
func (t *smtpTarget) open(ctx context.Context) (*session, error) {
	s, err := t.openWith(ctx, t.encryption)
	if err == nil || t.encryption != opportunistic || t.user != "" || ctx.Err() != nil || !isAboutTLS(err) {
		return s, err
	}
	why := err.Error()
	if s, err = t.openWith(ctx, plaintext); err == nil {
		s.result.Warnings = append(s.result.Warnings, "sent in clear text, because encryption failed: "+why)
	}
	return s, err
}

// isAboutTLS tells whether a connection failed because of TLS.
func isAboutTLS(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Stage == stageTLS || e.Stage == stageSTARTTLS && e.Code != 0)
}

func (t *smtpTarget) openWith(ctx context.Context, encryption encryption) (*session, error) {
	s := &session{target: t, encryption: encryption, ctx: ctx}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, t.network, t.address)
	if err != nil {
		if ctx.Err() != nil {
			return nil, s.failure(stageConnect, err)
		}
		return nil, &Error{Stage: stageConnect, Err: fmt.Errorf("%w; is the listener running?", err)}
	}
	s.dialled = conn
	s.use(conn)
	s.watch()
	if err := s.introduce(); err != nil {
		s.quit()
		return nil, err
	}
	return s, nil
}

// watch ends the connection when the context ends.
func (s *session) watch() {
	deadline, _ := s.ctx.Deadline()
	s.dialled.SetDeadline(deadline)
	s.unwatch = context.AfterFunc(s.ctx, func() { s.dialled.SetDeadline(time.Unix(1, 0)) })
}

// goOnUnder changes to another context, unless the first one has ended the connection.
func (s *session) goOnUnder(ctx context.Context) error {
	if !s.unwatch() {
		return s.failure(stageContent, context.Cause(s.ctx))
	}
	s.ctx = ctx
	s.watch()
	return nil
}

// use makes conn the connection. It drops what was read ahead from an earlier one, as RFC 3207 section 4.2
// requires.
func (s *session) use(conn net.Conn) {
	s.conn = conn
	s.in = bufio.NewReaderSize(conn, maxReplyLine)
	s.out = bufio.NewWriterSize(conn, outBuffer)
}

func (s *session) introduce() error {
	if s.encryption == immediate {
		if err := s.startTLS(); err != nil {
			return err
		}
	}
	if r, err := s.read(stageGreeting); err != nil {
		return err
	} else if r.code/100 != 2 {
		return r.refusal(stageGreeting)
	}
	if err := s.hello(); err != nil {
		return err
	}
	if err := s.encrypt(); err != nil {
		return err
	}
	if s.target.user == "" {
		return nil
	}
	return s.authenticate()
}

func (s *session) hello() error {
	r, err := s.demand(stageEHLO, "EHLO "+s.target.helo)
	if err != nil {
		return err
	}
	s.offered = r.extensions()
	return nil
}

func (s *session) offers(keyword string) bool {
	_, found := s.offered[keyword]
	return found
}

// encrypt does STARTTLS if the target requires or allows it.
func (s *session) encrypt() error {
	mode := s.encryption
	if mode != opportunistic && mode != required {
		return nil
	}
	if !s.offers("STARTTLS") {
		if mode == required {
			return &Error{Stage: stageSTARTTLS, Err: errors.New("required, but the server does not offer it")}
		}
		return nil
	}
	if _, err := s.demand(stageSTARTTLS, "STARTTLS"); err != nil {
		return err
	}
	// Octets after that reply were injected in clear text, to be read as part of the encrypted session.
	if s.in.Buffered() > 0 {
		return &Error{Stage: stageSTARTTLS, Err: errors.New("the server went on in clear text")}
	}
	if err := s.startTLS(); err != nil {
		return err
	}
	return s.hello() // RFC 3207 section 4.2: what was offered before does not count
}

func (s *session) startTLS() error {
	var authorities *x509.CertPool
	if s.target.rootCAs != nil {
		var err error
		if authorities, err = s.target.rootCAs(); err != nil {
			return &Error{Stage: stageTLS, Err: err}
		}
	}
	conn := tls.Client(s.dialled, &tls.Config{
		ServerName: s.target.host,
		RootCAs:    authorities,
		MinVersion: tls.VersionTLS12,
		// RFC 7435: opportunistic encryption does not verify, because the alternative is clear text. No
		// password is sent over it.
		InsecureSkipVerify: s.encryption == opportunistic,
	})
	s.mute = true
	if err := conn.HandshakeContext(s.ctx); err != nil {
		return s.failure(stageTLS, s.target.untrusted(err))
	}
	s.mute = false
	s.use(conn)
	return nil
}

// ask sends one command and reads its reply.
func (s *session) ask(stage, line string) (reply, error) {
	s.out.WriteString(line)
	s.out.Write(crlf)
	if err := s.out.Flush(); err != nil {
		return reply{}, s.failure(stage, err)
	}
	return s.read(stage)
}

// demand is ask for a command that must succeed.
func (s *session) demand(stage, line string) (reply, error) {
	r, err := s.ask(stage, line)
	if err == nil && r.code/100 != 2 {
		err = r.refusal(stage)
	}
	return r, err
}

func (s *session) read(stage string) (reply, error) {
	r, err := readReply(s.in)
	if err != nil {
		return reply{}, s.failure(stage, err)
	}
	return r, nil
}

// run sends commands that may be pipelined and reads their replies.
func (s *session) run(commands []command) error {
	window := 1
	if s.offers("PIPELINING") {
		window = pipelineWindow
	}
	for batch := range slices.Chunk(commands, window) {
		for _, c := range batch {
			s.mute = s.mute || c.stage == stageDATA
			s.out.WriteString(c.line)
			s.out.Write(crlf)
		}
		if err := s.out.Flush(); err != nil {
			return s.failure(batch[0].stage, err)
		}
		for _, c := range batch {
			if err := s.settle(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle reads the reply to a command.
func (s *session) settle(c command) error {
	class := 2
	if c.stage == stageDATA {
		class = 3
	}
	r, err := s.read(c.stage)
	if err != nil {
		return err
	}
	if r.code/100 == class {
		return nil
	}
	refused := r.refusal(c.stage)
	// After 421 the server closes (RFC 5321 section 3.8).
	if c.optional && r.code >= 400 && r.code != 421 {
		s.result.Warnings = append(s.result.Warnings, refused.Error())
		return nil
	}
	refused.Address, refused.recipient = printable(c.address), c.index
	return refused
}

// failure is an error of the connection. An exceeded deadline becomes the context's error.
func (s *session) failure(stage string, err error) *Error {
	if s.ctx.Err() != nil {
		err = context.Cause(s.ctx)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		err = context.DeadlineExceeded
	}
	return &Error{Stage: stage, Err: err}
}

// partWithDot sends QUIT together with the final dot, which RFC 2920 section 3.1 allows.
func (s *session) partWithDot() {
	s.parted = s.offers("PIPELINING")
	if s.parted {
		s.out.WriteString("QUIT\r\n")
	}
}

// quit sends QUIT, does not wait for the reply, as Postfix's own client does, and closes. Within DATA it only
// closes: then the server drops the message (RFC 5321 section 4.1.1.4).
func (s *session) quit() {
	if !s.mute && !s.parted {
		s.out.WriteString("QUIT\r\n")
		s.out.Flush()
	}
	s.close()
}

func (s *session) close() {
	s.unwatch()
	if s.ctx.Err() != nil {
		s.dialled.Close() // TLS would wait up to five seconds to send its close_notify
		return
	}
	s.conn.Close()
}
