package tests

import (
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

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
	s.run(60)
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
	s.run(40)
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

func (s *servedSoak) run(messages int) {
	s.passThrough(messages, s.faults(), s.submit)
	s.flush()
	s.account()
}

func newServedSoak(t *testing.T, serve func(s *servedSoak, f *forwarder, main, master *string)) *servedSoak {
	address := net.JoinHostPort("127.0.0.1", peer.FreePort(t))
	s := &servedSoak{}
	tiny := ""
	f := startTo(t, "smtp://"+address, func(f *forwarder, main, master *string) {
		withoutReverseTable(f, main, master)
		tiny = f.spoolOnTiny()
		serve(s, f, main, master)
	})
	s.soak = &soak{forwarder: f, random: rand.New(rand.NewPCG(8, 8)), tiny: tiny}
	s.flaky = startFlakyListener(t, address, func() string { return s.listener })
	s.check(s.dns.Add(soakZone))
	s.retrySoon()
	return s
}

// submit sends the next message.
func (s *servedSoak) submit() (id string) {
	to := []string{"alias@example.org"}
	if len(s.sent)%2 == 0 {
		to = append(to, "other@example.org")
	}
	return s.submitTo(to, "sender.example", "sender.example", "sender.example", "slow.example",
		"lame.example")
}

// restart ends the processes by a signal, so that others serve.
func (s *servedSoak) restart(signal syscall.Signal) {
	s.kills++
	s.end(signal)
}

func (s *servedSoak) faults() []fault {
	// A connection that was kept would not meet the fault.
	arm := func(stage, answer string) { s.restart(syscall.SIGKILL); s.flaky.arm(stage, answer) }
	faults := append(s.hostFaults(arm, "rsa.pem", "secrets", "postmend.toml"), fault{during: s.reload})
	for range 4 { // as often as not
		faults = append(faults,
			fault{during: func() { s.restart(syscall.SIGKILL) }},
			fault{during: func() { s.restart(syscall.SIGTERM) }},
			fault{arm: func() { arm("queued", "stall") }, // after the final dot
				during: func() { <-s.flaky.connected; s.restart(syscall.SIGKILL) }, mend: s.flaky.mend})
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
