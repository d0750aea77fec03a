package tests

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"postmend/tests/mta"
	"postmend/tests/peer"
)

// servedSoak is a stream of messages by LMTP, half of them for two recipients, with faults in between.
type servedSoak struct {
	*soak
	reload func()
	// end ends the processes that serve by a signal, and starts another if that is not Postfix's to do.
	end func(syscall.Signal)
}

// TestASoakOfFaultsWithServeLosesAndBouncesNothing: the resident process is killed at random and right
// after the listener has taken a message, restarted, told to reload; the listener goes down and refuses;
// the spool is full; keys and secrets are away. In the end each recipient has got every message, none has
// bounced, and a second copy came only where the process was killed while the message was under way.
func TestASoakOfFaultsWithServeLosesAndBouncesNothing(t *testing.T) {
	t.Parallel()
	s := newServedSoak(t, func(s *servedSoak, f *forwarder, main, master *string) {
		served := byLMTP(f, main, master)
		s.reload = func() { s.check(served.process.Process.Signal(syscall.SIGHUP)) }
		s.end = func(signal syscall.Signal) {
			s.check(served.process.Process.Signal(signal))
			served.process.Wait()
			served.start()
		}
	})
	s.passThrough(60, s.faults(), s.submit)
	s.flush()
	s.account()
}

// TestASoakOfFaultsWithLMTPBySpawnLosesAndBouncesNothing: the same, with a process for each connection.
func TestASoakOfFaultsWithLMTPBySpawnLosesAndBouncesNothing(t *testing.T) {
	t.Parallel()
	s := newServedSoak(t, func(s *servedSoak, f *forwarder, main, master *string) {
		bySpawn(f, main, master)
		s.reload = func() { s.postfix("postfix", "reload") }
		s.end = func(signal syscall.Signal) {
			for _, pid := range processesOf(f.program, "lmtp") {
				syscall.Kill(pid, signal) // it may have ended by itself
			}
		}
	})
	s.passThrough(40, s.faults(), s.submit)
	s.flush()
	s.account()
}

// processesOf are the processes that run a program with a first argument.
func processesOf(program, argument string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		words, _ := os.ReadFile(file) // it may have ended
		if strings.HasPrefix(string(words), program+"\x00"+argument+"\x00") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func newServedSoak(t *testing.T, serve func(s *servedSoak, f *forwarder, main, master *string)) *servedSoak {
	address := net.JoinHostPort("127.0.0.1", peer.FreePort(t))
	s := &servedSoak{}
	f := startChanged(t, "smtp://"+address, func(f *forwarder, main, master *string) {
		withoutReverseTable(f, main, master)
		tiny := filepath.Join(filepath.Dir(f.config), "tiny")
		f.check(os.Mkdir(tiny, 0o755))
		f.check(syscall.Mount("tmpfs", tiny, "tmpfs", 0, "size=8m,mode=1777"))
		t.Cleanup(func() { f.check(syscall.Unmount(tiny, 0)) })
		f.configure(`deadline = "50s"`,
			"deadline = \"50s\"\ndns_deadline = \"1s\"\ndns_patience = \"3s\"\nspool_dir = \""+tiny+"\"")
		serve(s, f, main, master)
	})
	s.soak = &soak{forwarder: f, random: rand.New(rand.NewPCG(8, 8)), tiny: filepath.Join(f.Dir, "tiny")}
	s.flaky = startFlakyListener(t, address, func() string { return s.listener })
	s.check(s.dns.Add(`sender.example TXT v=spf1 ip4:192.0.2.25 -all
_dmarc.sender.example TXT v=DMARC1; p=reject
slow.example DROP
_dmarc.slow.example DROP
lame.example SERVFAIL
_dmarc.lame.example SERVFAIL`))
	s.postfix("postconf", "-e", "queue_run_delay=2s", "minimal_backoff_time=1s", "maximal_backoff_time=4s",
		"transport_retry_time=1s", "enable_long_queue_ids=yes")
	peer.Age(t, s.Dir)
	s.postfix("postfix", "reload")
	return s
}

// submit sends the next message.
func (s *servedSoak) submit() (id string) {
	token := fmt.Sprintf("soak-%d", len(s.sent))
	domains := []string{"sender.example", "sender.example", "sender.example", "slow.example", "lame.example"}
	author := "alice@" + domains[s.random.IntN(len(domains))]
	to := []string{"alias@example.org"}
	if len(s.sent)%2 == 0 {
		to = append(to, "other@example.org")
	}
	lines := 20
	if s.random.IntN(12) == 0 {
		lines = 120_000
	}
	content := "From: " + author + "\nSubject: soak\nDate: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <" +
		token +
		"@sender.example>\nX-Token: " + token + "\n\n" + strings.Repeat("line of the body\n", lines)
	id = mta.Submit(s.t, s.smtp, mta.Mail{From: author, To: to, XClient: stranger, Content: []byte(content)})
	s.sent = append(s.sent, soaked{id, token})
	return id
}

// restart ends the processes by a signal, so that others serve.
func (s *servedSoak) restart(signal syscall.Signal) {
	s.kills++
	s.end(signal)
}

func (s *servedSoak) faults() []fault {
	nothing := func() {}
	away := func(name string) fault {
		path := filepath.Join(filepath.Dir(s.config), name)
		return fault{name: name, arm: func() { s.check(os.Rename(path, path+".away")) }, mend: func() {
			s.check(os.Rename(path+".away", path))
		}}
	}
	filler := filepath.Join(s.tiny, "filler")
	faults := []fault{
		{name: "none", arm: nothing, mend: nothing},
		{name: "listener down", arm: s.flaky.down, mend: func() { s.flaky.up(s.t) }},
		{name: "reload", arm: nothing, mend: nothing, during: func() { s.reload() }},
		{name: "spool full", mend: func() { s.check(os.Remove(filler)) }, arm: func() {
			file, err := os.Create(filler)
			s.check(err)
			for err == nil {
				_, err = file.Write(make([]byte, 64<<10))
			}
			file.Close()
		}},
		away("rsa.pem"), away("secrets"), away("postmend.toml"),
	}
	for range 4 { // as often as not
		faults = append(faults,
			fault{name: "killed at random", arm: nothing, during: func() { s.restart(syscall.SIGKILL) },
				mend: nothing},
			fault{name: "restarted", arm: nothing, during: func() { s.restart(syscall.SIGTERM) },
				mend: nothing},
			// A connection that was kept would not meet the fault.
			fault{name: "killed after the final dot", arm: func() {
				s.restart(syscall.SIGKILL)
				s.flaky.arm("queued", "stall")
			},
				during: func() { <-s.flaky.connected; s.restart(syscall.SIGKILL) }, mend: s.flaky.mend})
	}
	for _, stage := range []string{"greeting", "EHLO", "MAIL", "RCPT", "DATA", "."} {
		for _, answer := range []string{"451 4.7.1 not now", "550 5.7.0 you are not welcome", "drop"} {
			faults = append(faults, fault{name: stage + ": " + answer,
				arm: func() { s.restart(syscall.SIGKILL); s.flaky.arm(stage, answer) }, mend: s.flaky.mend})
		}
	}
	return faults
}

// account finds every message at the sink for each of its recipients, and the reason for each copy too many.
func (s *servedSoak) account() {
	s.t.Helper()
	log := s.Log()
	if n := strings.Count(log, "status=bounced"); n > 0 {
		s.t.Errorf("%d bounces", n)
	}
	copies := map[string]int{}
	header := regexp.MustCompile(`(?m)^X-Token: (\S+)\r$`)
	for _, got := range s.remote.Messages() {
		found := header.FindSubmatch(got.Content)
		if found == nil {
			s.t.Errorf("a message of nobody: %.300q", got.Content)
			continue
		}
		for _, to := range got.To {
			copies[string(found[1])+" "+to]++
		}
	}
	// The connection to the process was lost while it had the message.
	killed := countLines(log,
		`: (\w+): to=<.*relay=[^,]*(?:127\.0\.0\.1|lmtp).*status=deferred.*(?:lost connection|421)`)
	duplicates := 0
	for n, m := range s.sent {
		want := []string{"remote@example.com"}
		if n%2 == 0 {
			want = append(want, "other@example.net")
		}
		for _, to := range want {
			switch got := copies[m.token+" "+to]; {
			case got == 0:
				s.t.Errorf("%s (%s) is lost for %s", m.token, m.id, to)
			case got-1 > killed[m.id]:
				s.t.Errorf("%s (%s) came %d times for %s; the process ended %d times meanwhile", m.token,
					m.id, got, to, killed[m.id])
			default:
				duplicates += got - 1
			}
		}
	}
	s.t.Logf("%d messages, %d deferrals, the process ended %d times, %d duplicates, each by a kill after "+
		"the final dot",
		len(s.sent), strings.Count(log, "status=deferred"), s.kills, duplicates)
}
