package tests

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// flakyListener stands between postmend and the re-injection listener. Healthy, it passes octets on; with a
// fault armed, it answers one stage of the dialogue wrongly instead.
type flakyListener struct {
	address string

	real func() string // address of the listener behind

	mu        sync.Mutex
	listener  net.Listener  // nil while down
	stage     string        // "" is healthy
	answer    string        // "drop" closes the connection, "stall" never answers
	connected chan struct{} // a connection was made; at the stage "queued", a reply is held back
	release   chan struct{} // closed when a stall ends
}

func startFlakyListener(t testing.TB, address string, real func() string) *flakyListener {
	t.Helper()
	l := &flakyListener{address: address, real: real, connected: make(chan struct{}, 1000),
		release: make(chan struct{})}
	l.up(t)
	t.Cleanup(func() {
		l.mend()
		l.down()
	})
	return l
}

// up starts to listen.
func (l *flakyListener) up(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", l.address)
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.listener = listener
	l.mu.Unlock()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go l.serve(conn, l.real())
		}
	}()
}

// down stops listening. Connections that are open stay so.
func (l *flakyListener) down() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listener.Close()
}

// arm makes the listener give answer at a stage: greeting, EHLO, MAIL, RCPT, DATA, or "." for the end of
// data. At the stage "queued" the answer is always to stall, after the listener behind has taken the
// message.
func (l *flakyListener) arm(stage, answer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stage, l.answer = stage, answer
	l.release = make(chan struct{})
	for len(l.connected) > 0 {
		<-l.connected
	}
}

func (l *flakyListener) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage != "" {
		close(l.release)
	}
	l.stage = ""
}

func (l *flakyListener) serve(conn net.Conn, real string) {
	defer conn.Close()
	l.mu.Lock()
	stage, answer, release := l.stage, l.answer, l.release
	l.mu.Unlock()
	if stage == "queued" {
		l.passOn(conn, real, release)
		return
	}
	l.connected <- struct{}{}
	if stage == "" {
		l.passOn(conn, real, nil)
		return
	}
	in := bufio.NewReader(conn)
	// reply gives the usual answer, or the armed one; then the dialogue may be over.
	reply := func(at, usual string) bool {
		if at != stage {
			fmt.Fprintf(conn, "%s\r\n", usual)
			return true
		}
		switch answer {
		case "drop":
			return false
		case "stall":
			<-release
			return false
		}
		fmt.Fprintf(conn, "%s\r\n", answer)
		return true
	}
	if !reply("greeting", "220 listener ESMTP") {
		return
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		usual := map[string]string{"EHLO": "250-listener\r\n250-PIPELINING\r\n250-8BITMIME\r\n" +
			"250 XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT",
			"DATA": "354 go on"}[verb]
		if usual == "" {
			usual = "250 2.0.0 ok"
		}
		if !reply(verb, usual) {
			return
		}
		if verb == "DATA" && (stage != "DATA") {
			for line != ".\r\n" {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
			}
			if !reply(".", "250 2.0.0 ok: queued as LOST") {
				return
			}
		}
	}
}

// passOn holds back the reply that says "queued as" until hold is closed, unless it is nil.
func (l *flakyListener) passOn(conn net.Conn, real string, hold <-chan struct{}) {
	next, err := net.Dial("tcp", real)
	if err != nil {
		return
	}
	defer next.Close()
	go func() {
		io.Copy(next, conn)
		next.(*net.TCPConn).CloseWrite()
	}()
	replies := bufio.NewReader(next)
	for {
		line, err := replies.ReadString('\n')
		if err != nil {
			return
		}
		if hold != nil && strings.Contains(line, "queued as") {
			l.connected <- struct{}{}
			<-hold
		}
		io.WriteString(conn, line)
	}
}
