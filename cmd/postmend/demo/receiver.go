package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/mail"
	"net/netip"
	"strings"
	"sync"

	msgauth "github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-msgauth/dmarc"
	"github.com/emersion/go-smtp"

	"postmend/filter/authn/spf"
	"postmend/filter/domain/publicsuffix"
)

// strictReceiver is the demonstration's other side: an SMTP server that judges each message as a strict one
// would. It takes even what it would refuse, so that both can be shown. DKIM and the DMARC record are read
// by other people's libraries, so that postmend is not the only judge of what it signs.
type strictReceiver struct {
	address  string
	server   *smtp.Server
	resolver *net.Resolver

	mu  sync.Mutex
	got []*received
}

// received is a message with the receiver's verdict.
type received struct {
	sender    string
	content   []byte
	spf       spf.Status
	spfDomain string
	from      string   // the From: field, decoded
	author    string   // its domain
	dkim      []string // from the top signature down
	dmarc     string
	answer    string
}

func startStrictReceiver(resolver *net.Resolver) (*strictReceiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &strictReceiver{address: listener.Addr().String(), resolver: resolver}
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
	m := &received{sender: sender, content: content}
	m.spfDomain = sender[strings.LastIndexByte(sender, '@')+1:]
	if sender == "" { // RFC 7208 section 2.4
		m.spfDomain = helo
	}
	client, _ := netip.AddrFromSlice(ip)
	m.spf = spf.Check(ctx, r.resolver, spf.Query{IP: client, HELO: helo, Domain: m.spfDomain}).Status
	if parsed, err := mail.ReadMessage(bytes.NewReader(content)); err == nil {
		if address, err := mail.ParseAddress(parsed.Header.Get("From")); err == nil {
			m.from = fmt.Sprintf("%s <%s>", address.Name, address.Address)
			m.author = address.Address[strings.LastIndexByte(address.Address, '@')+1:]
		}
	}

	lookup := func(name string) ([]string, error) { return r.resolver.LookupTXT(ctx, name) }
	verifications, err := msgauth.VerifyWithOptions(bytes.NewReader(content),
		&msgauth.VerifyOptions{LookupTXT: lookup, MaxVerifications: 10})
	if err != nil && !errors.Is(err, msgauth.ErrTooManySignatures) {
		m.dkim = append(m.dkim, "error")
	}
	alignedPass := m.spf == spf.Pass && relaxedAligned(m.spfDomain, m.author)
	for _, v := range verifications {
		if v.Err != nil {
			m.dkim = append(m.dkim, fmt.Sprintf("fail (%s)", v.Domain))
			continue
		}
		m.dkim = append(m.dkim, fmt.Sprintf("pass (%s)", v.Domain))
		alignedPass = alignedPass || relaxedAligned(v.Domain, m.author)
	}

	record, err := dmarc.LookupWithOptions(m.author, &dmarc.LookupOptions{LookupTXT: lookup})
	m.answer = "250 2.0.0 accepted"
	switch {
	case err != nil:
		m.dmarc = "none"
	case alignedPass:
		m.dmarc = "pass"
	default:
		m.dmarc = "fail"
		if record.Policy == dmarc.PolicyReject {
			m.answer = "550 5.7.509 Access denied"
		}
	}
	return m
}

func relaxedAligned(a, b string) bool {
	orgA, okA := publicsuffix.Registered(strings.ToLower(a))
	orgB, okB := publicsuffix.Registered(strings.ToLower(b))
	return okA && okB && orgA == orgB
}
