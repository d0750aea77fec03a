package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/mail"
	"net/netip"
	"strings"
	"sync"

	"github.com/emersion/go-smtp"

	"postmend/dkim"
	"postmend/filter/authn"
	"postmend/filter/message"
)

// strictReceiver is the demonstration's other side: an SMTP server that judges each message as a strict one
// would. It takes even what it would refuse, so that both can be shown. It judges by our own code, because
// other people's libraries cost time at the start of every run; receiver_test.go compares with one of them.
type strictReceiver struct {
	address string
	server  *smtp.Server
	dns     string // "host:port"

	mu  sync.Mutex
	got []*received
}

// received is a message with the receiver's verdict.
type received struct {
	authn.Results
	sender  string
	content []byte
	from    string // the From: field, decoded
	answer  string
}

func startStrictReceiver(dns string) (*strictReceiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &strictReceiver{address: listener.Addr().String(), dns: dns}
	r.server = smtp.NewServer(r)
	r.server.Domain = "mx.receiver.example"
	r.server.EnableSMTPUTF8 = true
	go r.server.Serve(listener)
	return r, nil
}

func (r *strictReceiver) close() { r.server.Close() }

// last is the newest message.
func (r *strictReceiver) last() *received {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.got) == 0 {
		return nil
	}
	return r.got[len(r.got)-1]
}

// NewSession implements smtp.Backend.
func (r *strictReceiver) NewSession(conn *smtp.Conn) (smtp.Session, error) {
	return &receiverSession{receiver: r, conn: conn}, nil
}

type receiverSession struct {
	receiver *strictReceiver
	conn     *smtp.Conn
	sender   string
}

func (s *receiverSession) Mail(from string, _ *smtp.MailOptions) error {
	s.sender = from
	return nil
}

func (s *receiverSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (s *receiverSession) Reset()                               {}
func (s *receiverSession) Logout() error                        { return nil }

// Data judges the message. It is kept even if it is refused, to be shown.
func (s *receiverSession) Data(body io.Reader) error {
	content, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	ip := s.conn.Conn().RemoteAddr().(*net.TCPAddr).IP
	m := s.receiver.judge(context.Background(), ip, s.conn.Hostname(), s.sender, content)
	s.receiver.mu.Lock()
	s.receiver.got = append(s.receiver.got, m)
	s.receiver.mu.Unlock()
	return nil
}

func (r *strictReceiver) judge(
	ctx context.Context, ip net.IP, helo, sender string, content []byte,
) *received {
	m := &received{sender: sender, content: content, answer: "250 2.0.0 accepted"}
	var author string // its domain
	if parsed, err := mail.ReadMessage(bytes.NewReader(content)); err == nil {
		if address, err := mail.ParseAddress(parsed.Header.Get("From")); err == nil {
			m.from = fmt.Sprintf("%s <%s>", address.Name, address.Address)
			author = address.Address[strings.LastIndexByte(address.Address, '@')+1:]
		}
	}
	client, _ := netip.AddrFromSlice(ip)
	resolver := authn.New(r.dns)
	m.Results = authn.Check(ctx, resolver, authn.Request{
		ClientIP: client,
		HELO:     helo,
		Sender:   sender,
		Authors:  []string{author},
	}, func(ctx context.Context) []dkim.Verification {
		signatures, err := message.Verify(ctx, bytes.NewReader(content), resolver)
		if err != nil {
			return nil // nothing is proved
		}
		return signatures
	}, nil)
	if m.DMARC.Status == authn.Fail && m.DMARC.Policy == authn.PolicyReject {
		m.answer = "550 5.7.509 Access denied"
	}
	return m
}
