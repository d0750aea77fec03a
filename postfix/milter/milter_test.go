package milter

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// mta is the other side of a conversation, in the words of libmilter's mfdef.h.
type mta struct {
	t    testing.TB
	conn net.Conn
	done chan error
}

// start negotiates like Postfix with milter_protocol = 6.
func start(t testing.TB, judge Judge) *mta {
	t.Helper()
	m := dial(t, context.Background(), judge)
	m.send('O', u32(6), u32(0x1ff), u32(0x1fffff))
	if code, data := m.read(); code != 'O' || binary.BigEndian.Uint32(data) != 6 {
		t.Fatalf("negotiation: %q %x", code, data)
	}
	return m
}

func dial(t testing.TB, ctx context.Context, judge Judge) *mta {
	t.Helper()
	return dialOver(t, ctx, judge, func(conn net.Conn) net.Conn { return conn })
}

// dialOver has the milter use its connection through what over makes of it.
func dialOver(t testing.TB, ctx context.Context, judge Judge, over func(net.Conn) net.Conn) *mta {
	t.Helper()
	ours, pipe := net.Pipe()
	theirs := over(pipe)
	m := &mta{t: t, conn: ours, done: make(chan error, 1)}
	go func() {
		m.done <- Serve(ctx, theirs, judge)
		theirs.Close()
	}()
	t.Cleanup(func() { ours.Close() })
	return m
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func z(words ...string) []byte { return []byte(strings.Join(words, "\x00") + "\x00") }

func packetOf(command byte, parts ...[]byte) []byte {
	data := slices.Concat(parts...)
	return slices.Concat(u32(uint32(len(data)+1)), []byte{command}, data)
}

// send gives up if the other side is gone: what the test is about shows in its end.
func (m *mta) send(command byte, parts ...[]byte) { m.conn.Write(packetOf(command, parts...)) }

func (m *mta) read() (byte, []byte) {
	m.t.Helper()
	var head [5]byte
	if _, err := io.ReadFull(m.conn, head[:]); err != nil {
		m.t.Fatalf("no answer: %v", err)
	}
	data := make([]byte, binary.BigEndian.Uint32(head[:])-1)
	if _, err := io.ReadFull(m.conn, data); err != nil {
		m.t.Fatal(err)
	}
	return head[4], data
}

func (m *mta) envelope(sender string, recipients ...string) {
	m.send('D', []byte("C"), z("j", "mx.example.org", "{daemon_name}", "mx.example.org"))
	m.send('C', z("mail.example.net"), []byte("4"), []byte{0x12, 0x34}, z("192.0.2.7"))
	m.send('H', z("mail.example.net"))
	m.mail(sender, recipients...)
}

func (m *mta) mail(sender string, recipients ...string) {
	m.send('M', z("<"+sender+">", "SIZE=100"))
	for _, r := range recipients {
		m.send('R', z("<"+r+">"))
	}
	m.send('D', []byte("T"), z("i", "4XYZ"))
	m.send('T')
}

// content sends a small message to its end.
func (m *mta) content() {
	m.send('L', z("From", " a@example.net"))
	m.send('L', z("Subject", "  two\n\tlines"))
	m.send('N')
	m.send('B', []byte("body\r\n"))
	m.send('E')
}

// end gives the error that the conversation ended with.
func (m *mta) end() error {
	m.t.Helper()
	select {
	case err := <-m.done:
		return err
	case <-time.After(time.Minute):
		m.t.Fatal("the conversation did not end")
		return nil
	}
}

type judged struct {
	env  Envelope
	id   string
	user string
	text string
	err  error
}

// collect judges by answering with a verdict; what it saw is in the channel.
func collect(verdict Verdict) (Judge, chan judged) {
	seen := make(chan judged, 10)
	return func(_ context.Context, env *Envelope, content io.Reader) Verdict {
		text, err := io.ReadAll(content)
		seen <- judged{*env, env.Macro("i"), env.Macro("auth_authen"), string(text), err}
		return verdict
	}, seen
}

func TestAMessageComesAsItStoodWithItsEnvelope(t *testing.T) {
	judge, seen := collect(Verdict{})
	m := start(t, judge)
	m.envelope("alice@example.net", "bob@example.org", "carol@example.org")
	m.content()
	if code, _ := m.read(); code != 'c' {
		t.Errorf("answer %q, want continue", code)
	}
	got := <-seen
	want := "From: a@example.net\r\nSubject:  two\r\n\tlines\r\n\r\nbody\r\n"
	if got.text != want || got.err != nil {
		t.Errorf("content %q (%v), want %q", got.text, got.err, want)
	}
	env := got.env
	if env.ClientName != "mail.example.net" || env.ClientAddress != "192.0.2.7" || env.ClientPort != 0x1234 ||
		env.HELO != "mail.example.net" || env.Sender != "alice@example.net" || got.id != "4XYZ" ||
		!slices.Equal(env.Recipients, []string{"bob@example.org", "carol@example.org"}) {
		t.Errorf("envelope %+v, queue id %q", env, got.id)
	}
	m.send('Q')
	if err := m.end(); err != nil {
		t.Error(err)
	}
}

func TestWithoutTheOfferedStepsEachCommandIsAnswered(t *testing.T) {
	judge, seen := collect(Verdict{Insert: []Field{{"X-A", "1"}}})
	m := dial(t, context.Background(), judge)
	m.send('O', u32(2), u32(0x1f), u32(0x7f))
	code, data := m.read()
	if want := slices.Concat(u32(2), u32(0x11), u32(0)); code != 'O' || !bytes.Equal(data, want) {
		t.Fatalf("negotiation: %q %x", code, data)
	}
	step := func(command byte, parts ...[]byte) {
		t.Helper()
		m.send(command, parts...)
		if code, _ := m.read(); code != 'c' {
			t.Fatalf("%q was answered with %q", command, code)
		}
	}
	step('C', z("localhost"), []byte("U"))
	step('H', z("x"))
	step('M', z("<>"))
	step('R', z("<b@example.org>"))
	step('L', z("Subject", "x"))
	step('N')
	step('B', []byte("x\r\n"))
	m.send('E', []byte("y\r\n"))
	code, data = m.read()
	if want := slices.Concat(u32(1), z("X-A", "1")); code != 'i' || !bytes.Equal(data, want) {
		t.Errorf("%q %q, want the field without another blank", code, data)
	}
	got := <-seen
	if got.text != "Subject: x\r\n\r\nx\r\ny\r\n" || got.env.ClientAddress != "" || got.env.Sender != "" {
		t.Errorf("%+v", got)
	}
}

func TestFieldsAreDeletedFromTheLastToTheFirstAndStandInTheirOrder(t *testing.T) {
	judge, _ := collect(Verdict{
		Delete: []Position{{"A", 1}, {"B", 1}, {"A", 3}},
		Insert: []Field{{"First", "1\r\n\tx"}, {"Second", "2"}},
	})
	m := start(t, judge)
	m.envelope("a@example.net", "b@example.org")
	m.content()
	for _, want := range []struct {
		code byte
		data []byte
	}{
		{'m', slices.Concat(u32(3), z("A", ""))},
		{'m', slices.Concat(u32(1), z("B", ""))},
		{'m', slices.Concat(u32(1), z("A", ""))},
		{'i', slices.Concat(u32(1), z("Second", " 2"))},
		{'i', slices.Concat(u32(1), z("First", " 1\n\tx"))},
		{'c', nil},
	} {
		if code, data := m.read(); code != want.code || !bytes.Equal(data, want.data) {
			t.Errorf("%q %q, want %q %q", code, data, want.code, want.data)
		}
	}
}

func TestAfterARefusalTheNextMessageOfTheSessionIsJudged(t *testing.T) {
	verdicts := []Verdict{{Reply: "550 5.7.1 no"}, {}}
	var senders []string
	m := start(t, func(_ context.Context, env *Envelope, content io.Reader) Verdict {
		io.Copy(io.Discard, content)
		senders = append(senders, env.Sender)
		return verdicts[len(senders)-1]
	})
	m.envelope("first@example.net", "b@example.org")
	m.content()
	if code, data := m.read(); code != 'y' || string(data) != "550 5.7.1 no\x00" {
		t.Errorf("%q %q", code, data)
	}
	m.send('A')
	m.send('A')
	m.mail("second@example.net", "b@example.org")
	m.content()
	if code, _ := m.read(); code != 'c' {
		t.Errorf("answer %q", code)
	}
	if !slices.Equal(senders, []string{"first@example.net", "second@example.net"}) {
		t.Errorf("judged: %q", senders)
	}
}

func TestAnAbandonedMessageLeavesNothingBehind(t *testing.T) {
	judge, seen := collect(Verdict{})
	m := start(t, judge)
	m.envelope("first@example.net", "b@example.org")
	m.send('A') // before its content
	m.send('D', []byte("M"), z("{auth_authen}", "mallory"))
	m.mail("second@example.net", "b@example.org")
	m.send('L', z("From", " x"))
	m.send('A')
	if got := <-seen; !errors.Is(got.err, ErrAborted) || got.user != "mallory" {
		t.Errorf("%+v", got)
	}
	m.mail("third@example.net", "c@example.org")
	m.content()
	m.read()
	got := <-seen
	if got.env.Sender != "third@example.net" ||
		!slices.Equal(got.env.Recipients, []string{"c@example.org"}) ||
		got.user != "" || !strings.HasPrefix(got.text, "From: a@") {
		t.Errorf("%+v", got)
	}
	if got.env.HELO != "mail.example.net" {
		t.Error("the client was forgotten")
	}
	m.send('K')
	m.send('C', z("other"), []byte("6"), []byte{0, 1}, z("2001:db8::1"))
	m.mail("fourth@example.net", "c@example.org")
	m.content()
	m.read()
	if got := <-seen; got.env.ClientAddress != "2001:db8::1" || got.env.HELO != "" {
		t.Errorf("%+v", got)
	}
}

// STARTTLS makes a second HELO; a message may come without DATA, macros or recipients, too.
func TestWhatIsMissingIsNotKnown(t *testing.T) {
	judge, seen := collect(Verdict{})
	m := start(t, judge)
	m.send('C', z("unknown"), []byte("U"))
	m.send('H', z("before.example.net"))
	m.send('H', z("after.example.net"))
	m.send('M', z("<>"))
	m.send('E')
	if code, _ := m.read(); code != 'c' {
		t.Errorf("answer %q", code)
	}
	got := <-seen
	if got.env.HELO != "after.example.net" || got.id != "" || got.text != "\r\n" ||
		len(got.env.Recipients) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestABrokenConversationEndsWithoutAVerdict(t *testing.T) {
	header := z("From", " a@example.net")
	huge := func(n uint32) []byte { return append(u32(n), 'B') }
	for name, bytes := range map[string][]byte{
		"no negotiation":       packetOf('C', z("x"), []byte("U")),
		"short negotiation":    packetOf('O', u32(6)),
		"empty packet":         slices.Concat(hello, u32(0)),
		"oversized packet":     slices.Concat(hello, huge(1<<20+1)),
		"largest packet":       slices.Concat(hello, huge(0xffffffff)),
		"cut length":           slices.Concat(hello, []byte{0, 0}),
		"cut packet":           slices.Concat(hello, packetOf('H', z("mail"))[:7]),
		"unknown command":      slices.Concat(hello, packetOf('!')),
		"unknown in a content": slices.Concat(hello, packetOf('L', header), packetOf('!')),
		"second negotiation":   slices.Concat(hello, hello),
		"HELO without end":     slices.Concat(hello, packetOf('H', []byte("mail"))),
		"MAIL without end":     slices.Concat(hello, packetOf('M', []byte("<a@b>"))),
		"client without end":   slices.Concat(hello, packetOf('C', []byte("mail"))),
		"client without port":  slices.Concat(hello, packetOf('C', z("mail"), []byte("4"), []byte{1})),
		"macros without end":   slices.Concat(hello, packetOf('D', []byte("M"), []byte("i"))),
		"macros of nothing":    slices.Concat(hello, packetOf('D')),
		"field without value":  slices.Concat(hello, packetOf('L', z("From"))),
		"field behind header":  slices.Concat(hello, packetOf('N'), packetOf('L', header)),
		"stops in a header":    slices.Concat(hello, packetOf('L', header)),
		"stops in a body": slices.Concat(hello, packetOf('L', header), packetOf('N'),
			packetOf('B', []byte("x"))),
	} {
		t.Run(name, func(t *testing.T) {
			m := dial(t,
				context.Background(), func(_ context.Context, _ *Envelope, content io.Reader) Verdict {
					if _, err := io.Copy(io.Discard, content); err == nil {
						t.Error("the content seems whole")
					}
					return Verdict{Reply: "550 5.7.1 never sent"}
				})
			received := make(chan []byte)
			go func() {
				answers, _ := io.ReadAll(m.conn)
				received <- answers
			}()
			m.conn.Write(bytes)
			if !strings.HasPrefix(name, "cut") && !strings.HasPrefix(name, "stops") {
				if err := m.end(); !errors.Is(err, ErrProtocol) {
					t.Errorf("ended with %v", err)
				}
			} else {
				m.conn.Close()
				if err := m.end(); err == nil && name != "cut length" {
					t.Error("ended without an error")
				}
			}
			if answers := <-received; strings.Contains(string(answers), "550") {
				t.Error("a verdict was sent")
			}
		})
	}
}

var hello = packetOf('O', u32(6), u32(0x1ff), u32(0x1fffff))

func TestAnOddFieldStaysOnePieceOfText(t *testing.T) {
	judge, seen := collect(Verdict{})
	m := start(t, judge)
	m.envelope("a@example.net", "b@example.org")
	m.send('L', z("X", " a\rb"))
	m.send('L', z("Y", " before", "behind")) // a NUL ends a value; Postfix cuts there, too
	m.send('L', z("Z", ""))
	m.send('E')
	m.read()
	if got := <-seen; got.text != "X: a\rb\r\nY: before\r\nZ:\r\n\r\n" {
		t.Errorf("%q", got.text)
	}
}
