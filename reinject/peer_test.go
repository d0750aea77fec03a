package reinject

import (
	"bytes"
	"context"
	"crypto/x509"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"postmend/tests/peer"
)

// received is a message as go-smtp's server understood it.
type received struct {
	user, from string
	mail       smtp.MailOptions
	to         []string
	rcpt       []smtp.RcptOptions
	content    []byte
}

// mailroom is a go-smtp backend that keeps what it gets.
type mailroom struct {
	mu  sync.Mutex
	got []received
}

func (m *mailroom) NewSession(*smtp.Conn) (smtp.Session, error) { return &roomSession{room: m}, nil }

type roomSession struct {
	room *mailroom
	received
}

func (s *roomSession) AuthMechanisms() []string { return []string{sasl.Plain} }
func (s *roomSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if password != secret {
			return smtp.ErrAuthFailed
		}
		s.user = user
		return nil
	}), nil
}
func (s *roomSession) Mail(from string, o *smtp.MailOptions) error {
	s.from, s.mail = from, *o
	return nil
}
func (s *roomSession) Rcpt(to string, o *smtp.RcptOptions) error {
	s.to, s.rcpt = append(s.to, to), append(s.rcpt, *o)
	return nil
}
func (s *roomSession) Data(r io.Reader) (err error) {
	if s.content, err = io.ReadAll(r); err == nil {
		s.room.mu.Lock()
		defer s.room.mu.Unlock()
		s.room.got = append(s.room.got, s.received)
	}
	return err
}
func (s *roomSession) Reset()        {}
func (s *roomSession) Logout() error { return nil }

func startMailroom(t *testing.T, network string, prepare func(*smtp.Server)) (*mailroom, string) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = t.TempDir() + "/smtp"
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	room := &mailroom{}
	server := smtp.NewServer(room)
	server.Domain, server.EnableSMTPUTF8, server.EnableDSN, server.MaxLineLength = "mail.example.net",
		true, true, 8<<20
	prepare(server)
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return room, listener.Addr().String()
}

func TestGoSMTPUnderstandsEnvelopeParametersAndAuthentication(t *testing.T) {
	pool, config := authority(t)
	room, address := startMailroom(t, "tcp", func(s *smtp.Server) { s.TLSConfig = config })
	target, err := New(Options{Target: "smtp://" + address + "?starttls=required", RootCAs: trusting(pool),
		User: "alice", Password: password(secret)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = target.Send(guarded(t), stranger, nil, []Transaction{{
		Sender: "a b@example.com", EnvelopeID: "id+1=2", EightBit: true, UTF8: true, Size: 5,
		Content: message("hello"),
		Recipients: []Recipient{{Address: "bob@example.net", Original: "alias+x@example.org"},
			{Address: "jörg@example.net", Original: "jö+rg@example.org"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := room.got[0]
	if got.user != "alice" || got.from != "a b@example.com" || got.mail.EnvelopeID != "id+1=2" ||
		got.mail.Body != smtp.Body8BitMIME ||
		!got.mail.UTF8 || got.mail.Size != 5 {
		t.Errorf("MAIL was understood as %+v", got)
	}
	if got.to[0] != "bob@example.net" || got.rcpt[0].OriginalRecipientType != smtp.DSNAddressTypeRFC822 ||
		got.rcpt[0].OriginalRecipient != "alias+x@example.org" {
		t.Errorf("first RCPT was understood as %s %+v", got.to[0], got.rcpt[0])
	}
	if got.to[1] != "jörg@example.net" || got.rcpt[1].OriginalRecipientType != smtp.DSNAddressTypeUTF8 ||
		got.rcpt[1].OriginalRecipient != "jö+rg@example.org" {
		t.Errorf("second RCPT was understood as %s %+v", got.to[1], got.rcpt[1])
	}

	target, _ = New(Options{Target: "smtp://" + address + "?starttls=required", RootCAs: trusting(pool),
		User: "alice", Password: password("wrong")})
	if _, err := target.Send(guarded(t), Client{}, nil, simple()); err == nil || !err.(*Error).Temporary() {
		t.Errorf("wrong password: got %v", err)
	}
	target, _ = New(Options{Target: "smtp://" + address + "?starttls=required",
		RootCAs: trusting(x509.NewCertPool())})
	if _, err := target.Send(guarded(t), Client{}, nil, simple()); err == nil {
		t.Error("a certificate of nobody was taken")
	}
}

func TestGoSMTPReadsTheOctetsThatWereSent(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		room, address := startMailroom(t, network, func(*smtp.Server) {})
		name := "unix:" + address
		if network == "tcp" {
			name = "smtp://" + address
		}
		target, err := New(Options{Target: name})
		if err != nil {
			t.Fatal(err)
		}
		megabyte := strings.Repeat("x", 1<<20)
		for _, m := range []string{"", "\n", ".\n", ".", "..\n.\n...\n", "a\n.\nb\n",
			megabyte + "\n." + megabyte + "\n", "\x00a\x00\n", "a\rb\r\rc\n", "\r.\n",
			"no end", "8-bit \xff\xfe\n", strings.Repeat(".\n", 1<<16), strings.Repeat("\n", 1<<16),
			strings.Repeat("\r", 1<<18) + "a\n"} {
			room.got = nil
			txs := simple()
			txs[0].Content = message(m)
			if _, err := target.Send(guarded(t), Client{}, nil, txs); err != nil {
				t.Fatalf("%.20q: %v", m, err)
			}
			want := bytes.ReplaceAll(asPostfixReads([]byte(m)), lf, crlf)
			if got := room.got[0].content; !bytes.Equal(got, want) {
				t.Errorf("%s: %.20q (%d octets) is read as %.20q (%d octets)", network, m, len(want),
					got, len(got))
			}
		}
	}
}

// sink runs Postfix's smtp-sink, which writes each message to a file of its own in the folder returned.
func sink(t *testing.T, address string) (dumps string) {
	t.Helper()
	path := peer.Need(t, "smtp-sink")
	dumps, err := os.MkdirTemp("", "sink")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dumps) })
	arguments := []string{"-d", dumps + "/message."}
	if os.Geteuid() == 0 {
		arguments = append(arguments, "-u", "nobody")
		if err := os.Chmod(dumps, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, append(arguments, address, "10")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	return dumps
}

// waitFor waits for a file; there is no event to wait for without a library for it.
func waitFor(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(guard); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not come into being", path)
		}
	}
}

func TestSMTPSinkTakesMessagesOverTCPAndUnixSockets(t *testing.T) {
	inet := net.JoinHostPort("127.0.0.1", peer.FreePort(t))
	socket := filepath.Join(t.TempDir(), "smtp")
	for address, name := range map[string]string{inet: "smtp://" + inet, "unix:" + socket: "unix:" + socket} {
		t.Run(address, func(t *testing.T) {
			dumps := sink(t, address)
			target, err := New(Options{Target: name, HELOName: "mx.example.org"})
			if err != nil {
				t.Fatal(err)
			}
			ctx := guarded(t)
			var results []Result
			for { // until it listens
				results, err = target.Send(ctx, stranger, nil, twoTransactions())
				if e, ok := err.(*Error); !ok || e.Stage != "connect" || ctx.Err() != nil {
					break
				}
				time.Sleep(time.Millisecond)
			}
			if err != nil || len(results) != 2 || results[0].Warnings != nil {
				t.Fatalf("got %+v, %v", results, err)
			}
			files, _ := filepath.Glob(dumps + "/message.*")
			var all strings.Builder
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				all.Write(text)
			}
			for _, want := range []string{"X-Helo-Args: mx.example.org\n",
				"X-Mail-Args: <alice@example.com>\n", "X-Rcpt-Args: <bob@example.net>\n",
				"\nSubject: hello\n\nhello\n", "X-Mail-Args: <>\n", "X-Rcpt-Args: <carol@example.net>\n",
				"\nsecond\n"} {
				if !strings.Contains(all.String(), want) {
					t.Errorf("%d files lack %q:\n%s", len(files), want, all.String())
				}
			}
		})
	}
}
