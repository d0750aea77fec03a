package reinject

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// scripted is an SMTP server that answers as told and writes down what it hears.
type scripted struct {
	network string   // "tcp" or "unix"
	offers  []string // lines of its EHLO reply
	// answer replaces the usual reply of a session (counted from 0) to a verb, to "greeting" or to "." for
	// the final dot; "" keeps it. The words drop, stall, garbage, "endless line" and "endless reply" are
	// faults rather than replies.
	answer func(session int, verb string) string
	// answerLine does the same for a whole command line.
	answerLine func(line string) string
	// holdsBack keeps replies until this verb, for the nth time, has been heard: only a client that
	// pipelines gets there.
	holdsBack map[string]int
	tls       *tls.Config // for STARTTLS
	immediate bool        // TLS from the first octet

	address string
	stalled chan string    // a verb is answered with silence
	ended   chan *dialogue // a session is over
}

// dialogue is one session as the server saw it.
type dialogue struct {
	session   int
	commands  []string // after a "STARTTLS", those under TLS
	content   string   // between DATA and the final dot, as on the wire
	dot       bool
	pipelined bool // a command came before the reply to the one before
}

func (s *scripted) start(t *testing.T) *scripted {
	t.Helper()
	var listener net.Listener
	var err error
	if s.network == "unix" {
		listener, err = net.Listen("unix", t.TempDir()+"/smtp")
	} else {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	s.stalled, s.ended = make(chan string, 100), make(chan *dialogue, 100)
	var sessions sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		sessions.Wait()
	})
	sessions.Go(func() {
		for n := 0; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() {
				d := &dialogue{session: n}
				s.serve(conn, d)
				conn.Close()
				s.ended <- d
			})
		}
	})
	return s
}

// replies are a server's answers that differ from the usual ones, by the verb, or by "." for the end of data.
type replies map[string]string

func (r replies) to(_ int, verb string) string { return r[verb] }

func (s *scripted) target(t *testing.T, options Options) *Reinjector {
	t.Helper()
	if options.Target == "" {
		options.Target = "smtp://" + s.address
		if s.network == "unix" {
			options.Target = "unix:" + s.address
		}
	}
	if options.HELOName == "" {
		options.HELOName = "mx.example.org"
	}
	target, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// heard waits for the end of n sessions and gives them in the order of their beginnings.
func (s *scripted) heard(t *testing.T, n int) []*dialogue {
	t.Helper()
	dialogues := make([]*dialogue, n)
	for range n {
		select {
		case d := <-s.ended:
			dialogues[d.session] = d
		case <-time.After(guard):
			t.Fatalf("fewer than %d sessions came to their end", n)
		}
	}
	return dialogues
}

// guard ends tests that hang; nothing is measured by it.
const guard = 20 * time.Second

func guarded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	t.Cleanup(cancel)
	return ctx
}

type wire struct {
	*bufio.Reader
	*bufio.Writer
}

func newWire(conn net.Conn) wire {
	return wire{bufio.NewReader(conn), bufio.NewWriter(conn)}
}

// replier answers a session, and tells whether it goes on. The wire changes with STARTTLS.
func (s *scripted) replier(d *dialogue, w *wire) func(verb, usual string) bool {
	counted := map[string]int{}
	held := false
	return func(verb, usual string) bool {
		answer := usual
		if s.answer != nil {
			if told := s.answer(d.session, verb); told != "" {
				answer = told
			}
		}
		if !s.say(*w, verb, answer) {
			return false
		}
		counted[verb]++
		if s.holdsBack != nil && verb == "MAIL" {
			held = true
		}
		if n, found := s.holdsBack[verb]; found && counted[verb] >= n {
			held = false
		}
		return held || (*w).Flush() == nil
	}
}

func (s *scripted) serve(conn net.Conn, d *dialogue) {
	if s.immediate {
		conn = tls.Server(conn, s.tls)
	}
	w := newWire(conn)
	reply := s.replier(d, &w)
	if !reply("greeting", "220 mail.example.net ESMTP") {
		return
	}
	for {
		line, err := w.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		d.commands = append(d.commands, line)
		verb, _, _ := strings.Cut(line, " ")
		if s.answerLine != nil {
			if told := s.answerLine(line); told != "" {
				if !s.say(w, verb, told) || w.Flush() != nil {
					return
				}
				continue
			}
		}
		d.pipelined = d.pipelined || w.Reader.Buffered() > 0 && verb != "QUIT"
		switch verb {
		case "EHLO":
			if !reply(verb, "250-"+strings.Join(append([]string{"mail.example.net"}, s.offers...),
				"\r\n250-")+"\r\n250 HELP") {
				return
			}
		case "STARTTLS":
			if !reply(verb, "220 2.0.0 go ahead") {
				return
			}
			if s.answer == nil || !strings.HasPrefix(s.answer(d.session, verb), "4") {
				conn = tls.Server(conn, s.tls)
				w = newWire(conn)
			}
		case "DATA":
			if !reply(verb, "354 end with a dot") || !s.readContent(w, d) {
				return
			}
			if !reply(".", "250 2.0.0 Ok: queued as 4F1Zz"+fmt.Sprint(d.session)) {
				return
			}
		case "QUIT":
			return
		default:
			if !reply(verb, "250 2.1.0 Ok") {
				return
			}
		}
	}
}

// readContent reads up to the final dot, or tells that none came.
func (s *scripted) readContent(w wire, d *dialogue) bool {
	var content strings.Builder
	defer func() { d.content = content.String() }()
	for {
		line, err := w.ReadString('\n')
		if line == ".\r\n" {
			d.dot = true
			return true
		}
		content.WriteString(line)
		if err != nil {
			return false
		}
	}
}

// say gives an answer, or the fault that it names; false ends the session.
func (s *scripted) say(w wire, verb, answer string) bool {
	switch answer {
	case "drop":
		w.Flush()
		return false
	case "stall":
		w.Flush()
		s.stalled <- verb
		io.Copy(io.Discard, w.Reader) // until the client has gone
		return false
	case "garbage":
		answer = "\x00\xff hello \x1b[31m"
	case "endless line":
		answer = "250 " + strings.Repeat("x", 1<<20)
	case "endless reply":
		answer = strings.Repeat("250-x\r\n", 1<<16) + "250 x"
	}
	_, err := w.WriteString(answer + "\r\n")
	return err == nil
}
