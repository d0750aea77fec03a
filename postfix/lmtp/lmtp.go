// Package lmtp is a server of LMTP (RFC 2033) for Postfix's lmtp(8): PIPELINING (RFC 2920), SIZE (RFC 1870),
// 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461) and ENHANCEDSTATUSCODES (RFC 2034), with Postfix's
// XFORWARD, which tells the client that brought a message.
//
// Each recipient gets a reply of its own after the final dot. A message without one stays in Postfix's queue,
// so a connection may end at any time.
//
// It knows no client that is not on this host: no TLS, no AUTH, no access rules. It decides nothing about a
// message; it does not look into addresses, and not into the content but for its end.
package lmtp

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"postmend/postfix"
)

// Envelope is what a client says of a message besides its content. Addresses are as in SMTP, without the
// angle brackets; all values are free of control characters.
type Envelope struct {
	Client     Client
	Sender     string // "" is the null sender
	Recipients []Recipient
	Size       int64  // SIZE, in octets; 0 is not said
	UTF8       bool   // SMTPUTF8
	Return     string // RET: "FULL", "HDRS", or "" for not said
	ID         string // ENVID, decoded
}

// Recipient is one RCPT command.
type Recipient struct {
	Address string
	// Original is ORCPT, decoded; "" if there is none, or none of type rfc822 or utf-8. Postfix makes it of
	// the address before aliases, but passes on one that the client of smtpd(8) has made up.
	Original string
	Notify   string // NOTIFY: "NEVER", or some of "SUCCESS,FAILURE,DELAY"; "" is not said
}

// Client is what XFORWARD tells of the client that brought the message to Postfix. An empty value is not
// known.
type Client struct {
	Name, Address, Port, Protocol, HELO string
	// Ident is the queue id. There is none, nor anything else, for what Postfix has made itself: bounces,
	// notices, probes of addresses.
	Ident string

	isLocal bool // SOURCE=LOCAL
}

// isTold tells whether XFORWARD told where a message comes from.
func (c Client) isTold() bool { return c.Ident != "" || c == Client{isLocal: true} }

// Reply is what becomes of a message for a recipient.
type Reply struct {
	Enhanced string // RFC 3463; its class decides
	Text     string // printable ASCII
}

// Handler takes one message from content to its end, and gives one reply for each recipient, in their
// order. If reading fails, the connection has ended, and nothing may be handed on; then the replies do not
// matter.
type Handler func(ctx context.Context, env *Envelope, content io.Reader) []Reply

// Server serves. The zero value of a field is its default.
type Server struct {
	// Hostname is our name in the greeting.
	Hostname string
	Handle   Handler
	// MostConnections at a time; default 256. More are told to come back later.
	MostConnections int
	// MostRecipients of a message; default 1000. RFC 5321 section 4.5.3.1.8 asks for 100 at least.
	MostRecipients int
	// Patience is how long to wait for the client's next octets; default 5 minutes (RFC 5321 section
	// 4.5.3.2.7).
	Patience time.Duration

	mu    sync.Mutex
	conns map[*session]bool
}

const (
	defaultConnections = 256
	defaultRecipients  = 1000
	defaultPatience    = 5 * time.Minute
)

func (s *Server) mostConnections() int    { return either(s.MostConnections, defaultConnections) }
func (s *Server) mostRecipients() int     { return either(s.MostRecipients, defaultRecipients) }
func (s *Server) patience() time.Duration { return either(s.Patience, defaultPatience) }

func either[T int | time.Duration](value, fallback T) T {
	if value == 0 {
		return fallback
	}
	return value
}

// Serve serves the connections of a listener until ctx ends, and closes it. Messages that have come by then
// are dealt with first; other connections end at once.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	var sessions sync.WaitGroup
	defer sessions.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop() // if the listener fails, too
	context.AfterFunc(ctx, s.hurry)
	return postfix.Accept(ctx, listener, func(conn net.Conn) {
		if c := s.admit(ctx, conn); c != nil {
			sessions.Go(func() {
				defer s.leave(c)
				c.serve(ctx)
			})
		}
	})
}

// ServeConn serves one connection, until it or ctx ends, and closes it. If ctx ends while a message is under
// way, that is dealt with first.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) {
	c := newSession(s, conn)
	defer conn.Close()
	defer context.AfterFunc(ctx, c.stop)()
	c.serve(ctx)
}

// admit makes a session of a connection; nil if there are too many.
func (s *Server) admit(ctx context.Context, conn net.Conn) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= s.mostConnections() {
		conn.SetDeadline(time.Now().Add(time.Second))
		io.WriteString(conn, "421 4.3.2 "+s.Hostname+" too many connections\r\n")
		conn.Close()
		return nil
	}
	if s.conns == nil {
		s.conns = map[*session]bool{}
	}
	c := newSession(s, conn)
	s.conns[c] = true
	if ctx.Err() != nil {
		c.stop() // hurry may have passed already
	}
	return c
}

func (s *Server) leave(c *session) {
	c.conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// hurry ends the sessions that wait for a command.
func (s *Server) hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.stop()
	}
}
