package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// spawned is a lookup as spawn(8) starts it: one TCP connection is standard input, output and error.
type spawned struct {
	*net.TCPConn
	t       *testing.T
	answers *bufio.Reader
	exit    chan int
}

func (w *world) spawn(args ...string) *spawned {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	w.check(err)
	defer listener.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	w.check(err)
	accepted, err := listener.Accept()
	w.check(err)
	file, err := accepted.(*net.TCPConn).File()
	w.check(err)
	accepted.Close()
	s := &spawned{conn.(*net.TCPConn), w.t, bufio.NewReader(conn), make(chan int, 1)}
	conn.SetDeadline(time.Now().Add(time.Minute))
	w.t.Cleanup(func() { conn.Close() })
	go func() {
		status := run(append([]string{"-c", w.config}, args...), file, file, file)
		file.Close()
		s.exit <- status
	}()
	return s
}

func (s *spawned) ask(key string) string {
	s.t.Helper()
	fmt.Fprintf(s, "get %s\n", key)
	line, err := s.answers.ReadString('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

// ends waits for the end of the connection, and gives what came before it.
func (s *spawned) ends() (rest string, exit int) {
	s.t.Helper()
	text, err := io.ReadAll(s.answers)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text), <-s.exit
}

func (w *world) srs(direction, address string) string {
	w.t.Helper()
	exit, out, errs := w.run("", "srs", direction, address)
	if exit != 0 {
		w.t.Fatal(errs)
	}
	return strings.TrimSpace(out)
}

func TestForwardFindsWhatTheFilterWouldRewrite(t *testing.T) {
	w := newWorld(t)
	foreign := "SRS0=abcd=AA=origin.example=carol@other.example"
	var questions, want strings.Builder
	for _, c := range []struct{ key, code string }{
		{"alice@b.example", "200"},
		{"Alice.B@B.example", "200"},
		{foreign, "200"},
		{"SRS1=abcd=first.example==abcd=AA=origin.example=carol@other.example", "200"},
		{w.srs("forward", "alice@b.example"), "500"},
		{"SRS0=forged=AA=x.example=y@srs.example.org", "500"},
		{"postmaster@srs.example.org", "500"},
		{"uwe@example.org", "500"},
		{"uwe@EXAMPLE.ORG", "500"},
		{strings.Repeat("a", 50) + "@b.example", "500"}, // its SRS form would be too long
		{"", "500"}, {"alice", "500"}, {"@b.example", "500"}, {"alice@", "500"}, {"<>", "500"},
		{"%00@b.example", "500"},
	} {
		fmt.Fprintf(&questions, "get %s\n", c.key)
		if c.code == "200" {
			want.WriteString("200 " + w.srs("forward", c.key) + "\n")
		} else {
			want.WriteString("500\n")
		}
	}
	_, out, _ := w.run(questions.String(), "lookup", "forward")
	var got strings.Builder
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "500 ") {
			line = "500\n"
		}
		got.WriteString(line)
	}
	if got.String() != want.String() {
		t.Errorf("%s\nis answered\n%s\nwant\n%s", questions.String(), out, want.String())
	}
	if !strings.HasPrefix(w.srs("forward", foreign), "SRS1=") {
		t.Error("another forwarder's address does not become SRS1")
	}
}

func TestReverseFindsValidAddressesOfOursAlone(t *testing.T) {
	w := newWorld(t)
	ours := w.srs("forward", "Alice@b.example")
	questions, want := "", ""
	const srs = "NOTFOUND This recipient is a temporary return address (SRS)"
	const reply = " To write to the author, use the From: or Reply-To: address of the message; a bounce " +
		"must go to its envelope sender exactly as it is."
	for _, c := range [][2]string{
		{ours, "OK Alice@b.example"},
		{strings.ToLower(ours), "OK alice@b.example"},
		{ours[:5] + "AAAA" + ours[9:], srs + " that this server did not make, or no longer accepts." + reply},
		{"SRS0=x@srs.example.org", srs + ", and it is incomplete." + reply},
		{strings.Replace(ours, "srs.example.org", "example.org", 1),
			"NOTFOUND not an SRS address of this server"},
		{"postmaster@srs.example.org", "NOTFOUND not an SRS address of this server"},
		{"", "NOTFOUND not an SRS address of this server"},
		{"SRS0=x", "NOTFOUND not an SRS address of this server"},
		{"@srs.example.org", "NOTFOUND not an SRS address of this server"},
	} {
		questions += fmt.Sprintf("%d:any %s,", len(c[0])+4, c[0])
		want += fmt.Sprintf("%d:%s,", len(c[1]), c[1])
	}
	if _, out, _ := w.run(questions, "lookup", "reverse", "--protocol", "socketmap"); out != want {
		t.Errorf("%q, want %q", out, want)
	}
}

func TestATableSaysTryLaterUntilItsFilesAreMended(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Dir(w.config)
	secrets := filepath.Join(dir, "secrets")
	good, err := os.ReadFile(w.config)
	w.check(err)
	ours := w.srs("forward", "alice@b.example")
	reverse := w.spawn("lookup", "reverse")
	expect := func(key, want string) {
		t.Helper()
		if got := reverse.ask(key); !strings.HasPrefix(got, want) {
			t.Errorf("%q is answered %q, want %q", key, got, want)
		}
	}
	const later = "400 table%20cannot%20be%20used,%20see%20the%20mail%20log"
	expect(ours, "200 alice@b.example")
	for _, fault := range []struct {
		name, logged string
		arm, mend    func() error
	}{
		{"secrets that others may read", "is open to other accounts", func() error {
			return os.Chmod(secrets, 0o644)
		}, func() error { return os.Chmod(secrets, 0o600) }},
		{"no secrets", "no such file", func() error { return os.Rename(secrets, secrets+".away") },
			func() error { return os.Rename(secrets+".away", secrets) }},
		{"no configuration", "no such file", func() error { return os.Rename(w.config, w.config+".away") },
			func() error { return os.Rename(w.config+".away", w.config) }},
		{"unknown key", "line 1: unknown key", func() error {
			return os.WriteFile(w.config, append([]byte("mumble = 1\n"), good...), 0o644)
		},
			func() error { return os.WriteFile(w.config, good, 0o644) }},
		{"no SRS domain", "srs: domain is not set", func() error {
			return os.WriteFile(w.config,
				bytes.Replace(good, []byte(`domain = "srs.example.org"`), nil, 1), 0o644)
		}, func() error { return os.WriteFile(w.config, good, 0o644) }},
	} {
		w.check(fault.arm())
		for range 3 {
			expect(ours, later)
			expect("bob@remote.example", "500 ") // is no business of ours
		}
		w.check(fault.mend())
		expect(ours, "200 alice@b.example")
		if fault.name == "no configuration" {
			continue // and so nobody knows where the log is
		}
		if fault.name != "unknown key" {
			line := w.logged()
			if !strings.Contains(line, "lookup reverse: ") || !strings.Contains(line, fault.logged) {
				t.Errorf("%s: logged %q", fault.name, line)
			}
		}
	}
	mark, err := net.Dial("unixgram", w.log.LocalAddr().String())
	w.check(err)
	defer mark.Close()
	fmt.Fprint(mark, "and nothing more")
	if line := w.logged(); line != "and nothing more" {
		t.Errorf("logged more than once: %q", line)
	}

	// The old secret goes: what was made with it is refused from now on.
	w.check(os.WriteFile(secrets+".new", []byte("another\n"), 0o600))
	w.check(os.Rename(secrets+".new", secrets))
	expect(ours, "500 ")
	expect(w.srs("forward", "alice@b.example"), "200 alice@b.example")
	reverse.CloseWrite()
	if rest, exit := reverse.ends(); rest != "" || exit != 0 {
		t.Errorf("at the end: %q, exit %d", rest, exit)
	}
}

func TestMisuseUnderSpawnPutsNothingOnTheConnection(t *testing.T) {
	w := newWorld(t)
	for _, args := range [][]string{{"lookup"}, {"lookup", "sideways"}, {"lookup", "forward", "reverse"},
		{"lookup", "forward", "--protocol", "ldap"}, {"lookup", "forward", "--mumble"},
		{"lookup", "--help"}, {"lookup", "-h", "forward"}, {"milter", "-h"},
		{"lookpu", "forward"}} {
		if rest, exit := w.spawn(args...).ends(); rest != "" || exit != 64 {
			t.Errorf("%q: %q, exit %d", args, rest, exit)
		}
		if exit, _, _ := w.run("", args...); exit != 64 && !strings.Contains(fmt.Sprint(args), "-h") {
			t.Errorf("%q by hand: exit %d", args, exit)
		}
	}
}

func TestSIGTERMEndsATableBetweenRequests(t *testing.T) {
	s := newWorld(t).spawn("lookup", "forward")
	s.ask("uwe@example.org")
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if rest, exit := s.ends(); rest != "" || exit != 0 {
		t.Errorf("%q, exit %d", rest, exit)
	}
}
