package mta

import (
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// Received is one message as a sink got it.
type Received struct {
	From    string
	To      []string
	Content []byte // CRLF line ends, dots unstuffed
	UTF8    bool
}

// Sink is an SMTP server that keeps what it gets.
type Sink struct {
	Port string

	t        testing.TB
	mu       sync.Mutex
	got      []Received
	refused  []string
	arrivals chan struct{}
}

// Refuse makes the sink answer 550 to a recipient.
func (s *Sink) Refuse(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, address)
}

// StartSink starts a sink on a port of loopback; the test's end stops it.
func StartSink(t testing.TB) *Sink {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Sink{t: t, arrivals: make(chan struct{}, 1<<16)}
	_, s.Port, _ = net.SplitHostPort(listener.Addr().String())
	server := smtp.NewServer(s)
	server.Domain = "sink.example.com"
	server.EnableSMTPUTF8 = true
	server.MaxLineLength = 64 << 20
	server.ErrorLog = nopLogger{}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return s
}

type nopLogger struct{}

func (nopLogger) Printf(string, ...any) {}
func (nopLogger) Println(...any)        {}

// NewSession implements smtp.Backend.
func (s *Sink) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{sink: s}, nil }

type session struct {
	sink *Sink
	mail Received
}

func (s *session) Mail(from string, options *smtp.MailOptions) error {
	s.mail = Received{From: from, UTF8: options.UTF8}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	if slices.Contains(s.sink.refused, to) {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1},
			Message: "refused by the sink"}
	}
	s.mail.To = append(s.mail.To, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mail.Content = content
	s.sink.mu.Lock()
	s.sink.got = append(s.sink.got, s.mail)
	s.sink.mu.Unlock()
	s.sink.arrivals <- struct{}{}
	return nil
}

func (s *session) Reset()        { s.mail = Received{} }
func (s *session) Logout() error { return nil }

// Messages is what came so far.
func (s *Sink) Messages() []Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Received(nil), s.got...)
}

// Wait waits until at least n messages have come, and gives all.
func (s *Sink) Wait(n int) []Received {
	s.t.Helper()
	late := time.After(Patience)
	for {
		if got := s.Messages(); len(got) >= n {
			return got
		}
		select {
		case <-s.arrivals:
		case <-late:
			s.t.Fatalf("the sink on port %s has %d messages, want %d", s.Port, len(s.Messages()), n)
		}
	}
}
