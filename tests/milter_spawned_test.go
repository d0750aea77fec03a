package tests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postmend/tests/mta"
)

// spawnedFaults are what can happen to a milter that spawn(8) starts. Each has an smtpd of its own, which
// asks a milter of its own, whose configuration has the fault's name.
var spawnedFaults = []struct {
	name   string
	limit  int // of processes; 0 is none
	before func(s *spawnedMilter) (after func())
	midway func(s *spawnedMilter)
}{
	{name: "none"},
	// Who opens a FIFO waits for a writer.
	{name: "hangs", before: func(s *spawnedMilter) func() {
		s.f.check(os.Remove(s.config))
		s.f.check(syscall.Mkfifo(s.config, 0o644))
		s.f.check(os.Chmod(s.config, 0o644))
		return s.release
	}},
	{name: "is-stopped", midway: func(s *spawnedMilter) { s.signal(unix.SIGSTOP) }},
	{name: "is-killed", midway: func(s *spawnedMilter) { s.signal(unix.SIGKILL) }},
	{name: "crashes", midway: func(s *spawnedMilter) { s.signal(unix.SIGABRT) }},
	{name: "has-no-memory", midway: func(s *spawnedMilter) {
		for _, limit := range []int{unix.RLIMIT_AS, unix.RLIMIT_DATA} {
			s.f.check(unix.Prlimit(s.process(), limit, &unix.Rlimit{Cur: 1, Max: 1}, nil))
		}
	}},
	{name: "is-not-started", before: func(s *spawnedMilter) func() {
		s.f.check(os.Rename(s.program, s.program+".gone"))
		return func() { s.f.check(os.Rename(s.program+".gone", s.program)) }
	}},
	// spawn(8) does not start another process, and the kernel lets the connection wait.
	{name: "is-one-of-too-many", limit: 1, before: (*spawnedMilter).occupy},
	{name: "has-a-full-socket", limit: 1, before: func(s *spawnedMilter) func() {
		free := s.occupy()
		held := s.fillSocket()
		return func() {
			for _, fd := range held {
				unix.Close(fd)
			}
			free()
		}
	}},
}

// spawnedMilter is one of them.
type spawnedMilter struct {
	f                     *forwarder
	name, action          string
	smtp, config, program string
}

// TestNoFaultOfASpawnedMilterLosesMailOrProvesIt: with default_action=accept, mail is accepted, delivered
// once, and judged by the filter; with tempfail, its sender gets 4xx. Nobody believes what the message
// itself says, not even what a sealed copy of another one says.
func TestNoFaultOfASpawnedMilterLosesMailOrProvesIt(t *testing.T) {
	for mode, change := range map[string]func(f *forwarder, main, master *string){
		"content filter": func(*forwarder, *string, *string) {}, "transport": withTransport,
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			milters := map[string]*spawnedMilter{}
			f := startChanged(t, "", func(f *forwarder, main, master *string) {
				change(f, main, master)
				for _, action := range []string{"accept", "tempfail"} {
					for _, fault := range spawnedFaults {
						s := &spawnedMilter{f: f, name: fault.name, action: action}
						s.setUp(master, fault.limit)
						milters[fault.name+"="+action] = s
					}
				}
			})
			f.check(f.dns.Add("reject.example TXT v=spf1 ip4:192.0.2.1 -all\n" +
				"_dmarc.reject.example TXT v=DMARC1; p=reject"))
			sealed := milters["none=accept"].sealedCopy()
			for _, fault := range spawnedFaults {
				for _, action := range []string{"accept", "tempfail"} {
					s := milters[fault.name+"="+action]
					t.Run(fault.name+", "+action, func(t *testing.T) {
						after := func() {}
						if fault.before != nil {
							after = fault.before(s)
						}
						defer after()
						s.send(t, sealed, fault.midway)
					})
				}
			}
			f.waitEmptyQueue()
		})
	}
}

// setUp adds an smtpd, a milter and its configuration.
func (s *spawnedMilter) setUp(master *string, limit int) {
	dir := filepath.Dir(s.f.config)
	name := s.name + "-" + s.action
	s.smtp = net.JoinHostPort("127.0.0.1", mta.FreePort(s.f.t))
	s.config, s.program = filepath.Join(dir, name+".toml"), filepath.Join(dir, name)
	config, err := os.ReadFile(s.f.config)
	s.f.check(err)
	s.f.check(os.WriteFile(s.config, config, 0o644))
	s.f.check(os.Link(s.f.program, s.program))
	*master += fmt.Sprintf("%s unix - n n - %d spawn user=nobody argv=%s milter -c %s\n",
		name, limit, s.program, s.config)
	*master += fmt.Sprintf(`%s inet n - n - - smtpd -o syslog_name=postfix/%s
  -o smtpd_authorized_xclient_hosts=127.0.0.0/8
  -o { smtpd_milters = { unix:private/%[2]s, default_action=%s, connect_timeout=1s, command_timeout=1s, content_timeout=1s } }
`, s.smtp, name, s.action)
	s.f.t.Cleanup(s.end)
}

// sealedCopy is what the milter makes of a message that passes, out of a mailbox here.
func (s *spawnedMilter) sealedCopy() string {
	s.f.t.Helper()
	id := mta.Submit(s.f.t, s.smtp, mta.Mail{From: "alice@reject.example", To: []string{"box@example.org"},
		XClient: "ADDR=192.0.2.1", Content: []byte("From: alice@reject.example\nSubject: sealed\n\nx\n")})
	s.f.WaitLog(0, id+": removed")
	content := string(s.f.local.Wait(1)[0].Content)
	seal, results := sealField.FindString(content), resultsField.FindString(content)
	if seal == "" || s.f.mode() == "transport" && !strings.Contains(results, "dmarc=pass") {
		s.f.t.Fatalf("not sealed: %s", content)
	}
	return seal + results
}

// mode tells in which one postmend runs.
func (f *forwarder) mode() string {
	main, err := os.ReadFile(filepath.Join(f.Dir, "main.cf"))
	f.check(err)
	if bytes.Contains(main, []byte("\ndefault_transport = ")) {
		return "transport"
	}
	return "content filter"
}

// send gives the smtpd a message that passes, a forgery, and a forgery with the fields of a sealed copy.
func (s *spawnedMilter) send(t *testing.T, sealed string, midway func(*spawnedMilter)) {
	filler := strings.Repeat("X-Filler: "+strings.Repeat("z", 60)+"\r\n", 9000)
	for _, m := range []struct{ client, fields string }{
		{"192.0.2.1", ""}, {"192.0.2.66", forged}, {"192.0.2.66", sealed},
	} {
		mail := mta.Mail{From: "alice@reject.example", To: []string{"alias@example.org"},
			XClient: "ADDR=" + m.client,
			Content: []byte(m.fields + "From: alice@reject.example\r\nSubject: sealed\r\n" + filler + "\r\nx\r\n")}
		if midway != nil {
			mail.Midway = func() { midway(s) }
		}
		before := len(s.f.remote.Messages())
		id, err := mta.TrySubmit(s.smtp, mail)
		if s.action == "tempfail" && s.name != "none" {
			if err == nil || !strings.Contains(err.Error(), "got \"4") {
				t.Errorf("from %s: %v, want 4xx", m.client, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		s.f.WaitLog(0, id+": removed")
		got := s.f.remote.Wait(before + 1)[before:]
		if len(got) != 1 {
			t.Fatalf("%d messages came", len(got))
		}
		s.check(t, m.client == "192.0.2.1", string(got[0].Content))
	}
}

var ourAuthor = regexp.MustCompile(`(?m)^From: .*<alias@example\.org>\r$`)

// check: what passed on arrival is mended, and what did not leaves without our signature and with the truth.
func (s *spawnedMilter) check(t *testing.T, passes bool, content string) {
	t.Helper()
	results := resultsField.FindAllString(content, -1)
	want := "dmarc=fail"
	if passes {
		want = "dmarc=pass"
	}
	isSigned := strings.Contains(content, "\nDKIM-Signature: ")
	if len(results) != 1 || !strings.Contains(results[0], want) || ourAuthor.MatchString(content) != passes ||
		isSigned != passes || sealField.MatchString(content) {
		if len(content) > 6000 {
			content = content[:6000]
		}
		t.Errorf("passes: %t\n%s", passes, content)
	}
}

// process is the id of the process that the milter's only conversation has.
func (s *spawnedMilter) process() int {
	s.f.t.Helper()
	for started := time.Now(); time.Since(started) < mta.Patience; time.Sleep(time.Millisecond) {
		if ids := s.processes(); len(ids) == 1 {
			return ids[0]
		}
	}
	s.f.t.Fatalf("%s: %v", s.name, s.processes())
	return 0
}

// processes are those that run or will run the program. One that has ended has no command line.
func (s *spawnedMilter) processes() (ids []int) {
	entries, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, entry := range entries {
		text, _ := os.ReadFile(entry)
		if bytes.HasPrefix(text, []byte(s.program+"\x00")) {
			id, _ := strconv.Atoi(strings.Split(entry, "/")[2])
			ids = append(ids, id)
		}
	}
	return ids
}

func (s *spawnedMilter) signal(number syscall.Signal) {
	s.f.t.Helper()
	s.f.check(unix.Kill(s.process(), number))
	if number != unix.SIGSTOP { // the next message has a process of its own
		for len(s.processes()) > 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// release lets those that wait for the FIFO go on: what they read is no configuration of theirs any more.
func (s *spawnedMilter) release() {
	for len(s.processes()) > 0 {
		fifo, err := os.OpenFile(s.config, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			fifo.Close()
		}
		time.Sleep(time.Millisecond)
	}
}

// occupy holds an SMTP session open, whose milter is the only one that spawn(8) may start.
func (s *spawnedMilter) occupy() (free func()) {
	s.f.t.Helper()
	conn, err := net.Dial("tcp", s.smtp)
	s.f.check(err)
	conn.SetDeadline(time.Now().Add(mta.Patience))
	greeting, err := bufio.NewReader(conn).ReadString('\n') // by then the milter has been negotiated with
	if err != nil || !strings.HasPrefix(greeting, "220 ") {
		s.f.t.Fatalf("%q, %v", greeting, err)
	}
	return func() { conn.Close() }
}

// fillSocket connects to the milter's socket until the kernel takes no more.
func (s *spawnedMilter) fillSocket() (held []int) {
	s.f.t.Helper()
	path := filepath.Join(s.f.Dir+".spool", "private", s.name+"-"+s.action)
	for {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		s.f.check(err)
		held = append(held, fd)
		switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); {
		case errors.Is(err, unix.EAGAIN):
			return held
		case err != nil:
			s.f.t.Fatal(err)
		}
	}
}

// end ends those that were stopped.
func (s *spawnedMilter) end() {
	for _, id := range slices.Clone(s.processes()) {
		unix.Kill(id, unix.SIGKILL)
	}
}
