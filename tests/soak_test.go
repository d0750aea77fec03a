package tests

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
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

// soak is a stream of messages with faults in between.
type soak struct {
	*forwarder
	flaky  *flakyListener
	random *rand.Rand
	tiny   string // the spool folder, on a small file system
	to     []string
	sent   []soaked
	kills  int
}

type soaked struct{ id, token string }

// TestASoakOfFaultsLosesAndBouncesNothing: filter processes are killed at random, the listener goes down,
// stalls and refuses, the spool is full, DNS is slow and fails, keys are away, the clock jumps a month. In
// the end every message has come, none has bounced, and more than one copy of a message came only where a
// process was killed after the listener had taken it.
func TestASoakOfFaultsLosesAndBouncesNothing(t *testing.T) {
	t.Parallel()
	newSoak(t, withoutReverseTable, "alias@example.org").run(150)
}

// TestASoakOfFaultsWithSeveralRecipientsInARun: the same in transport mode, where the recipients of one
// domain share a run and its status. Nobody's copy is lost or doubled.
func TestASoakOfFaultsWithSeveralRecipientsInARun(t *testing.T) {
	t.Parallel()
	change := func(f *forwarder, main, master *string) {
		withoutReverseTable(f, main, master)
		replace(t, main, "other@example.org=other@example.net", "other@example.org=other@example.com")
		replace(t, main, "postmend_destination_recipient_limit = 1",
			"postmend_destination_recipient_limit = 50")
		asTransport(f, main, master)
	}
	newSoak(t, change, "alias@example.org", "other@example.org").run(50)
}

func (s *soak) run(messages int) {
	s.passThrough(messages, s.faults(), s.submit)
	s.flush()
	s.account()
}

// passThrough submits messages in batches, each under a fault. SOAK sets how many.
func (s *soak) passThrough(messages int, faults []fault, submit func() string) {
	if n, err := strconv.Atoi(os.Getenv("SOAK")); err == nil {
		messages = n
	}
	for len(s.sent) < messages {
		fault := faults[s.random.IntN(len(faults))]
		if fault.arm != nil {
			fault.arm()
		}
		mark := s.Mark()
		var batch []string
		for range min(5, messages-len(s.sent)) {
			batch = append(batch, submit())
		}
		if fault.during != nil {
			fault.during()
		} else {
			s.WaitLog(mark, "(?:"+strings.Join(batch, "|")+"): to=<")
		}
		if fault.mend != nil {
			fault.mend()
		}
	}
}

func newSoak(t *testing.T, change func(f *forwarder, main, master *string), to ...string) *soak {
	address := net.JoinHostPort("127.0.0.1", peer.FreePort(t))
	s := &soak{forwarder: startTo(t, "smtp://"+address, change), to: to,
		random: rand.New(rand.NewPCG(7, 7))}
	s.flaky = startFlakyListener(t, address, func() string { return s.listener })
	s.tiny = s.spoolOnTiny()
	s.check(s.dns.Add(soakZone + `liar.example TXT v=spf1 include:liar.example redirect=liar.example
_dmarc.liar.example TXT v=DMARC1; p=reject; p=none`))
	s.retrySoon()
	return s
}

// spoolOnTiny gives the filter a spool folder on a small file system, and little patience with DNS.
func (f *forwarder) spoolOnTiny() string {
	tiny := filepath.Join(filepath.Dir(f.config), "tiny")
	f.check(os.Mkdir(tiny, 0o755))
	f.check(syscall.Mount("tmpfs", tiny, "tmpfs", 0, "size=8m,mode=1777"))
	f.t.Cleanup(func() { f.check(syscall.Unmount(tiny, 0)) })
	f.configure(`deadline = "50s"`,
		"deadline = \"50s\"\ndns_deadline = \"1s\"\ndns_patience = \"3s\"\nspool_dir = \""+tiny+"\"")
	return tiny
}

const soakZone = `sender.example TXT v=spf1 ip4:192.0.2.25 -all
_dmarc.sender.example TXT v=DMARC1; p=reject
slow.example DROP
_dmarc.slow.example DROP
lame.example SERVFAIL
_dmarc.lame.example SERVFAIL
`

// retrySoon has Postfix try deferred mail again within seconds.
func (s *soak) retrySoon() {
	s.postfix("postconf", "-e", "queue_run_delay=2s", "minimal_backoff_time=1s", "maximal_backoff_time=4s",
		"transport_retry_time=1s", "enable_long_queue_ids=yes")
	peer.Age(s.t, s.Dir)
	s.postfix("postfix", "reload")
}

// postfix runs one of Postfix's commands on this instance.
func (s *soak) postfix(command string, args ...string) {
	s.t.Helper()
	out, err := exec.Command(command, append([]string{"-c", s.Dir}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %q: %v\n%s", command, args, err, out)
	}
}

// submit sends the next message.
func (s *soak) submit() (id string) {
	return s.submitTo(s.to, "sender.example", "sender.example", "sender.example", "slow.example",
		"lame.example", "liar.example")
}

// submitTo sends a message of one of the domains: small ones mostly, some that need the spool.
func (s *soak) submitTo(to []string, domains ...string) (id string) {
	token := fmt.Sprintf("soak-%d", len(s.sent))
	author := "alice@" + domains[s.random.IntN(len(domains))]
	lines := 20
	if s.random.IntN(12) == 0 {
		lines = 120_000
	}
	content := "From: " + author + "\nSubject: soak\nDate: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <" +
		token + "@sender.example>\nX-Token: " + token +
		"\n\n" + strings.Repeat("line of the body\n", lines)
	id = mta.Submit(s.t, s.smtp, mta.Mail{From: author, To: to, XClient: stranger, Content: []byte(content)})
	s.sent = append(s.sent, soaked{id, token})
	return id
}

// hostFaults are those of this host and of the listener. away are files that are gone for a while; arm is for
// what the listener answers at a stage.
func (s *soak) hostFaults(arm func(stage, answer string), away ...string) []fault {
	filler := filepath.Join(s.tiny, "filler")
	faults := []fault{
		{}, // none
		{arm: s.flaky.down, mend: func() { s.flaky.up(s.t) }},
		{arm: func() {
			file, err := os.Create(filler)
			s.check(err)
			for err == nil {
				_, err = file.Write(make([]byte, 64<<10))
			}
			file.Close()
		}, mend: func() { s.check(os.Remove(filler)) }},
	}
	for _, name := range away {
		path := filepath.Join(filepath.Dir(s.config), name)
		faults = append(faults, fault{arm: func() { s.check(os.Rename(path, path+".away")) },
			mend: func() { s.check(os.Rename(path+".away", path)) }})
	}
	for _, stage := range soakStages {
		for _, answer := range []string{"451 4.7.1 not now", "550 5.7.0 you are not welcome", "drop"} {
			faults = append(faults, fault{arm: func() { arm(stage, answer) }, mend: s.flaky.mend})
		}
	}
	return faults
}

var soakStages = []string{"greeting", "EHLO", "MAIL", "RCPT", "DATA", "."}

func (s *soak) faults() []fault {
	faults := s.hostFaults(s.flaky.arm, "rsa.pem", "secrets", "postmend.toml", "postmend")
	for _, jump := range []string{"+720h", "-720h"} {
		wrong := s.program + jump
		build(s.t, wrong, "-tags=faultinjection", "-ldflags=-X main.injected=clock"+jump)
		swap := func() {
			s.check(unix.Renameat2(unix.AT_FDCWD, wrong, unix.AT_FDCWD, s.program, unix.RENAME_EXCHANGE))
		}
		faults = append(faults, fault{arm: swap, mend: swap})
	}
	for range 6 { // as often as not
		faults = append(faults,
			fault{during: func() { s.killSome(3) }},
			fault{arm: func() { s.flaky.arm("queued", "stall") }, // after the final dot
				during: func() { <-s.flaky.connected; s.killSome(20) }, mend: s.flaky.mend})
	}
	for _, stage := range soakStages {
		faults = append(faults, fault{arm: func() { s.flaky.arm(stage, "stall") },
			during: func() { <-s.flaky.connected; s.killSome(1) }, mend: s.flaky.mend})
	}
	return faults
}

// killSome ends some of the filter processes of this instance, if any are found running.
func (s *soak) killSome(most int) {
	for range 20 {
		out, _ := exec.Command("pgrep", "-f", "^"+s.program+" filter -c "+s.config).Output()
		pids := strings.Fields(string(out))
		s.random.Shuffle(len(pids), func(i, j int) { pids[i], pids[j] = pids[j], pids[i] })
		for _, text := range pids[:min(len(pids), most)] {
			pid, err := strconv.Atoi(text)
			s.check(err)
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				s.kills++
			}
		}
		if len(pids) > 0 {
			return
		}
	}
}

// flush has everything delivered that is still in the queue. The queue manager passes over a message that
// is still being delivered, and one may be deferred again: so it is asked anew as soon as something has
// happened to one of them.
func (s *soak) flush() {
	s.t.Helper()
	for started := time.Now(); ; {
		mark := s.Mark() // before the queue is read: what leaves it afterwards is logged behind the mark
		queue := s.Queue()
		if len(queue) == 0 {
			return
		}
		if time.Since(started) > 10*mta.Patience {
			s.t.Fatalf("still in the queue: %v", queue)
		}
		s.postfix("postqueue", "-f")
		s.WaitLog(mark, "(?:"+strings.Join(slices.Collect(maps.Keys(queue)), "|")+
			"): (?:removed|to=<|skipped)")
	}
}

// account finds every message at the sink, and the reason for each copy too many.
func (s *soak) account() {
	s.t.Helper()
	log := s.Log()
	if n := strings.Count(log, "status=bounced"); n > 0 {
		s.t.Errorf("%d bounces", n)
	}
	messages, copies, recipients := map[string]int{}, map[string]int{}, map[string]bool{}
	header := regexp.MustCompile(`(?m)^X-Token: (\S+)\r$`)
	for _, got := range s.remote.Messages() {
		found := header.FindSubmatch(got.Content)
		if found == nil || bytes.Contains(got.Content, []byte("multipart/report")) {
			s.t.Errorf("a message of nobody: %.300q", got.Content)
			continue
		}
		messages[string(found[1])]++
		for _, to := range got.To {
			copies[string(found[1])+" "+to]++
			recipients[to] = true
		}
	}
	if len(recipients) != len(s.to) {
		s.t.Errorf("recipients %v, want those of %q", recipients, s.to)
	}
	taken := map[string]int{} // by the listener behind: begun is not enough, it has to be in the queue
	queued := countLines(log, `qmgr\[\d+\]: (\w+): from=<`)
	for _, found := range regexp.MustCompile(
		`: (\w+): client=\S+, orig_queue_id=(\w+)`).FindAllStringSubmatch(log, -1) {
		if queued[found[1]] > 0 {
			taken[found[2]]++
		}
	}
	killed := countLines(log, `: (\w+): to=<.*status=deferred.*signal 9`)
	duplicates := 0
	for _, m := range s.sent {
		for to := range recipients {
			kills := killed[m.id] / len(s.to) // a line for each recipient
			switch n := copies[m.token+" "+to]; {
			case n == 0:
				s.t.Errorf("%s (%s) is lost for %s", m.token, m.id, to)
			case n-1 > kills:
				s.t.Errorf("%s (%s) came %d times for %s, its filter was killed %d times", m.token, m.id, n,
					to, kills)
			default:
				duplicates += n - 1
			}
		}
		if n := messages[m.token]; n != taken[m.id] {
			s.t.Errorf("%s (%s) came as %d messages, the listener took %d", m.token, m.id, n, taken[m.id])
		}
	}
	s.t.Logf("%d messages, %d deferrals, %d kills, %d duplicates, each by a kill after the final dot",
		len(s.sent), strings.Count(log, "status=deferred"), s.kills, duplicates)
}

func countLines(log, pattern string) map[string]int {
	count := map[string]int{}
	for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(log, -1) {
		count[found[1]]++
	}
	return count
}
