package tests

import (
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
	"postmend/tests/peer"
)

// spawnedFault is what can happen to a milter that spawn(8) starts. It has an smtpd of its own, which asks a
// milter of its own, whose configuration has the fault's name.
type spawnedFault struct {
	name    string
	connect int // for how long Postfix waits for a conversation, in seconds
	content int // for an answer
	limit   int // of processes; 0 is none
	before  func(s *spawnedMilter) (after func())
	midway  syscall.Signal // before the message's content; 0 is none
}

// long is more than a milter takes on a busy machine.
const long = 30

var spawnedFaults = []spawnedFault{
	{name: "none", connect: long, content: long},
	// It waits for DNS longer than Postfix waits for it.
	{name: "hangs", connect: long, content: 1, before: func(s *spawnedMilter) func() {
		silent, err := net.ListenPacket("udp", "127.0.0.1:0")
		s.f.check(err)
		config, err := os.ReadFile(s.config)
		s.f.check(err)
		config = bytes.Replace(config, []byte(s.f.dns.Addr()), []byte(silent.LocalAddr().String()), 1)
		s.f.check(os.WriteFile(s.config, config, 0o644))
		return func() { silent.Close() }
	}},
	{name: "is-stopped", connect: long, content: 1, midway: unix.SIGSTOP},
	{name: "is-killed", connect: long, content: long, midway: unix.SIGKILL},
	{name: "crashes", connect: long, content: long, midway: unix.SIGABRT},
	// Go's runtime says so on standard error, which is the connection.
	{name: "has-no-memory", connect: long, content: long},
	{name: "is-not-started", connect: long, content: long, before: func(s *spawnedMilter) func() {
		s.f.check(os.Rename(s.program, s.program+".gone"))
		return func() { s.f.check(os.Rename(s.program+".gone", s.program)) }
	}},
	// spawn(8) does not start another process, and the kernel lets the connection wait.
	{name: "is-one-of-too-many", connect: 1, content: 1, limit: 1, before: (*spawnedMilter).occupy},
	{name: "has-a-full-socket", connect: long, content: long, limit: 1, before: (*spawnedMilter).fillSocket},
}

// spawnedMilter is one of them.
type spawnedMilter struct {
	spawnedFault
	f                     *forwarder
	action                string
	smtp, config, program string
	stopped               map[int]bool // processes
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
			var milters []*spawnedMilter
			f := startChanged(t, func(f *forwarder, main, master *string) {
				change(f, main, master)
				for _, fault := range spawnedFaults {
					for _, action := range []string{"accept", "tempfail"} {
						s := &spawnedMilter{fault, f, action, "", "", "", map[int]bool{}}
						s.setUp(master)
						milters = append(milters, s)
					}
				}
			})
			f.check(f.dns.Add("reject.example TXT v=spf1 ip4:192.0.2.1 -all\n" +
				"_dmarc.reject.example TXT v=DMARC1; p=reject"))
			sealed := milters[0].sealedCopy(mode)
			for _, s := range milters {
				if s.action == "tempfail" && mode == "transport" {
					continue // there is no difference
				}
				t.Run(s.name+", "+s.action, func(t *testing.T) {
					if s.before != nil {
						defer s.before(s)()
					}
					s.send(t, sealed)
				})
			}
			f.waitEmptyQueue()
		})
	}
}

// setUp adds an smtpd, a milter and its configuration.
func (s *spawnedMilter) setUp(master *string) {
	dir := filepath.Dir(s.f.config)
	name := s.name + "-" + s.action
	s.smtp = net.JoinHostPort("127.0.0.1", peer.FreePort(s.f.t))
	s.config, s.program = filepath.Join(dir, name+".toml"), filepath.Join(dir, name)
	config, err := os.ReadFile(s.f.config)
	s.f.check(err)
	s.f.check(os.WriteFile(s.config, config, 0o644))
	s.f.check(os.Link(s.f.program, s.program))
	argv := s.program
	if s.name == "has-no-memory" {
		argv = peer.Need(s.f.t, "prlimit") + " --as=50000000 " + argv
	}
	*master += fmt.Sprintf("%s unix - n n - %d spawn user=nobody argv=%s milter -c %s\n",
		name, s.limit, argv, s.config)
	*master += fmt.Sprintf(`%s inet n - n - - smtpd -o syslog_name=postfix/%s
  -o smtpd_authorized_xclient_hosts=127.0.0.0/8
  -o { smtpd_milters = { unix:private/%[2]s, default_action=%s, connect_timeout=%ds, command_timeout=%[4]ds,
    content_timeout=%[5]ds } }
`, s.smtp, name, s.action, s.connect, s.content)
	s.f.t.Cleanup(s.end)
}

// sealedCopy is what the milter makes of a message that passes, out of a mailbox here.
func (s *spawnedMilter) sealedCopy(mode string) string {
	s.f.t.Helper()
	id := mta.Submit(s.f.t, s.smtp, mta.Mail{From: "alice@reject.example", To: []string{"box@example.org"},
		XClient: "ADDR=192.0.2.1", Content: []byte("From: alice@reject.example\nSubject: sealed\n\nx\n")})
	s.f.WaitLog(0, id+": removed")
	content := string(s.f.local.Wait(1)[0].Content)
	seal, results := sealField.FindString(content), resultsField.FindString(content)
	if seal == "" || mode == "transport" && !strings.Contains(results, "dmarc=pass") {
		s.f.t.Fatalf("not sealed: %s", content)
	}
	return seal + results
}

// send gives the smtpd a message that passes, and a forgery with the fields of a sealed copy.
func (s *spawnedMilter) send(t *testing.T, sealed string) {
	for _, m := range []struct{ client, fields string }{
		{"192.0.2.1", ""}, {"192.0.2.66", sealField.ReplaceAllString(forged, "") + sealed},
	} {
		mail := mta.Mail{From: "alice@reject.example", To: []string{"alias@example.org"},
			XClient: "ADDR=" + m.client,
			Content: []byte(m.fields + "From: alice@reject.example\r\nSubject: sealed\r\n\r\nx\r\n")}
		if s.midway != 0 {
			mail.Midway = s.signal
		}
		before, mark := len(s.f.remote.Messages()), s.f.Mark()
		id, err := mta.TrySubmit(s.smtp, mail)
		if s.name != "none" {
			s.f.WaitLog(mark, "warning: (connect to M|m)ilter .*/"+s.name+"-"+s.action)
		}
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
		t.Errorf("passes: %t\n%s", passes, content)
	}
}

// process is the id of the process that the milter's conversation has.
func (s *spawnedMilter) process() int {
	s.f.t.Helper()
	isStopped := func(id int) bool { return s.stopped[id] }
	for started := time.Now(); time.Since(started) < mta.Patience; time.Sleep(time.Millisecond) {
		if ids := slices.DeleteFunc(s.processes(), isStopped); len(ids) == 1 {
			return ids[0]
		}
	}
	s.f.t.Fatalf("%s: %v", s.name, s.processes())
	return 0
}

// processes are those that run the program. One that has ended has no command line.
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

func (s *spawnedMilter) signal() {
	s.f.t.Helper()
	id := s.process()
	s.f.check(unix.Kill(id, s.midway))
	s.stopped[id] = true
	for isRunning(id) { // a signal takes effect a little later
		time.Sleep(time.Millisecond)
	}
}

// isRunning tells whether a process goes on: it is not stopped, and has not ended.
func isRunning(id int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	_, state, found := strings.Cut(string(stat), ") ")
	return err == nil && found && !strings.ContainsAny(state[:1], "TZX")
}

// socket is where spawn(8) takes conversations.
func (s *spawnedMilter) socket() string {
	return filepath.Join(s.f.Dir+".spool", "private", s.name+"-"+s.action)
}

// occupy has the only conversation that spawn(8) may start.
func (s *spawnedMilter) occupy() (free func()) {
	s.f.t.Helper()
	conn, err := net.Dial("unix", s.socket())
	s.f.check(err)
	s.process()
	return func() { conn.Close() }
}

// fillSocket connects to the milter's socket until the kernel takes no more.
func (s *spawnedMilter) fillSocket() (free func()) {
	s.f.t.Helper()
	end := s.occupy()
	var held []int
	for {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		s.f.check(err)
		held = append(held, fd)
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: s.socket()}); errors.Is(err, unix.EAGAIN) {
			break
		}
		s.f.check(err)
	}
	return func() {
		for _, fd := range held {
			unix.Close(fd)
		}
		end()
	}
}

// end ends those that were stopped.
func (s *spawnedMilter) end() {
	for _, id := range s.processes() {
		unix.Kill(id, unix.SIGKILL)
	}
}
