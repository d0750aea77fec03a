package tests

import (
	"bytes"
	"fmt"
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

	"postmend/tests/judge"
	"postmend/tests/mta"
	"postmend/tests/peer"
)

// doorMaster starts a milter conversation for each SMTP session.
const doorMaster = "postmend-milter unix - n n - 0 spawn user=nobody argv=%s milter -c %s\n"

// doorMain asks the milter at an address, and goes on without it. Its times are those of a test.
const doorMain = `
smtpd_milters = { %s, default_action=accept, connect_timeout=5s, command_timeout=5s, content_timeout=30s }
`

// withDoor puts the milter in front of the smtpd that takes mail in.
func withDoor(f *forwarder, main, master *string) {
	*main += fmt.Sprintf(doorMain, "unix:private/postmend-milter")
	*master += fmt.Sprintf(doorMaster, f.program, f.config)
}

// withoutFilter leaves the milter alone with the mail.
func withoutFilter(_ *forwarder, main, _ *string) {
	*main = regexp.MustCompile(`(?m)^content_filter = .*\n`).ReplaceAllString(*main, "")
}

// forged are fields that claim to be this host's, where a stranger has put them.
const forged = "Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=reject.example;\r\n" +
	"\tdkim=pass header.d=reject.example; dmarc=pass header.from=reject.example policy.dmarc=reject\r\n" +
	"X-Postmend-Arrival: v=1; t=1764331327; i=192.0.2.1; b=Zm9yZ2Vk\r\n" +
	"AUTHENTICATION-RESULTS : (a comment) \"MX.example.org\" 1; dmarc=pass\r\n"

// TestTheMilterSaysWhatOthersSay: more than 200 messages of each kind pass the milter, and nothing else. What
// it writes is what OpenDKIM and mailauth find out by themselves, it refuses forgeries of our own domain and
// nothing that passes, forged fields are gone, and the rest arrives octet for octet.
func TestTheMilterSaysWhatOthersSay(t *testing.T) {
	t.Parallel()
	w := &world{srsDomain: srsDomain, policy: "reject",
		body: "Gr\xc3\xbc\xc3\x9fe  \t\r\n\r\n.\r\nFrom here\r\n\r\n"}
	w.forwarder = startChanged(t, func(f *forwarder, main, master *string) {
		withDoor(f, main, master)
		withoutFilter(f, main, master)
	})
	w.write()
	refused := map[int]string{}
	for n, l := range w.letters {
		l.to = []string{"box@example.org"}
		plain := *l
		if !strings.Contains(l.name, "forbids further fields") { // a signature may cover what is not there
			plain.content = append([]byte(forged), l.content...)
		}
		id, err := plain.submit(w.smtp)
		if err != nil {
			refused[n] = err.Error()
			continue
		}
		w.WaitLog(0, id+": removed")
	}
	w.waitEmptyQueue()
	outcomes := make([]*outcome, len(w.letters))
	for n, l := range w.letters {
		outcomes[n] = &outcome{letter: l}
	}
	w.collect(outcomes)
	w.judge(outcomes)
	w.checkRefusals(outcomes, refused)
	w.compareVerdicts(outcomes, refused)
}

// checkRefusals: a forgery of our own is refused with 550 5.7.1, and nobody gets a bounce.
func (w *world) checkRefusals(outcomes []*outcome, refused map[int]string) {
	w.t.Helper()
	ours := 0
	for n, o := range outcomes {
		if len(o.bounces) > 0 {
			w.t.Errorf("%s: a bounce came: %.300s", o.name, o.bounces[0].Content)
		}
		switch text, isRefused := refused[n]; {
		case isRefused && (o.arrived.Passed() || !strings.Contains(text, "550 \"5.7.1 ")):
			w.t.Errorf("%s was refused: %s (%+v)", o.name, text, o.arrived)
		case isRefused:
			ours++
		case o.forged && o.mustRefuse():
			w.t.Errorf("%s was not refused", o.name)
		case len(o.came) != 1:
			w.t.Errorf("%s: %d came", o.name, len(o.came))
		}
	}
	if ours < 10 {
		w.t.Errorf("%d were refused, too few to show anything", ours)
	}
}

var (
	receivedField = regexp.MustCompile(`(?s)\AReceived: .*?\r\n([^ \t])`)
	resultsField  = regexp.MustCompile(`(?m)^Authentication-Results: mx\.example\.org;(.*\r\n([ \t].*\r\n)*)`)
	sealField     = regexp.MustCompile(`(?m)^X-Postmend-Arrival: .*\r\n([ \t].*\r\n)*`)
)

// compareVerdicts holds what the milter wrote against OpenDKIM and mailauth.
func (w *world) compareVerdicts(outcomes []*outcome, refused map[int]string) {
	w.t.Helper()
	var arrivals []judge.Arrival
	var contents [][]byte
	var came []*outcome
	for n, o := range outcomes {
		if refused[n] != "" || len(o.came) != 1 {
			continue
		}
		came = append(came, o)
		contents = append(contents, o.content)
		arrivals = append(arrivals, judge.Arrival{Address: o.address, HELO: o.helo, Sender: o.from,
			Content: o.content})
	}
	records := map[string]string{}
	for line := range strings.Lines(w.zone.String()) {
		if words := strings.SplitN(strings.TrimSpace(line), " ", 3); len(words) == 3 && words[1] == "TXT" {
			records[words[0]] = words[2]
		}
	}
	openDKIM := judge.New(w.t, records, contents).OpenDKIM()
	mailauth := judge.Mailauth(w.t, w.zone.String(), arrivals)
	genuine := 0
	for n, o := range came {
		got := string(o.came[0].Content)
		results := resultsField.FindAllStringSubmatch(got, -1)
		if len(results) != 1 || strings.Contains(results[0][1], "(") ||
			len(sealField.FindAllString(got, -1)) != 1 {
			w.t.Errorf("%s: results %q", o.name, results)
			continue
		}
		text := results[0][1]
		if !o.forged {
			genuine++
		}
		// mailauth takes domains of one organisation for aligned under adkim=s and aspf=s, too.
		isStrict := strings.HasPrefix(o.arrived.Author, "strict") ||
			strings.Contains(o.arrived.Author, ".strict")
		if passes := strings.Contains(text, "dmarc=pass"); !isStrict && passes != (mailauth[n] != "") {
			w.t.Errorf("%s: %s\nmailauth: passes for %q", o.name, text, mailauth[n])
		}
		// OpenDKIM takes one signature of several, knows no ed25519, and in its test mode drops blanks after
		// a colon, which a simple signature covers.
		one := strings.Count(string(o.content), "DKIM-Signature:") == 1 &&
			!strings.Contains(text, "ed25519") && !strings.Contains(string(o.content), "c=simple/")
		if passes := strings.Contains(text, "dkim=pass"); one &&
			passes != slices.Equal(openDKIM[n], []string{"pass"}) {
			w.t.Errorf("%s: %s\nOpenDKIM: %q", o.name, text, openDKIM[n])
		}
		rest := resultsField.ReplaceAllString(sealField.ReplaceAllString(got, ""), "")
		rest = receivedField.ReplaceAllString(rest, "$1")
		if rest != string(o.content) {
			w.t.Errorf("%s: changed\n%q\nwas\n%q", o.name, rest, o.content)
		}
	}
	if genuine < 200 {
		w.t.Errorf("%d legitimate messages, too few", genuine)
	}
}

// withTransport makes postmend the transport, as setup does, instead of a content filter.
func withTransport(_ *forwarder, main, master *string) {
	*main = regexp.MustCompile(`(?m)^content_filter = .*\n`).ReplaceAllString(*main,
		"default_transport = postmend:\n")
	*master = strings.Replace(*master, "-o content_filter=\n", "-o content_filter=smtp:$relayhost\n", 1)
}

// resident is a postmend serve.
type resident struct {
	*exec.Cmd
	address string
}

// serve starts one for a forwarder, at an address of loopback, and waits until it says that it is ready.
func (f *forwarder) serve(address string) *resident {
	f.t.Helper()
	socket := filepath.Join(f.t.TempDir(), "notify")
	notify, err := net.ListenPacket("unixgram", socket)
	f.check(err)
	defer notify.Close()
	cmd := exec.Command(f.program, "serve", "-c", f.config, "--milter", "inet:"+address)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	f.check(cmd.Start())
	f.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	notify.SetReadDeadline(time.Now().Add(mta.Patience))
	state := make([]byte, 100)
	n, _, err := notify.ReadFrom(state)
	if err != nil || string(state[:n]) != "READY=1" {
		f.t.Fatalf("%q, %v: %s", state[:n], err, said.String())
	}
	return &resident{cmd, address}
}

// TestMailGoesOnWithoutTheMilter: whether it was never started, was killed, stopped, hangs or has no
// configuration, mail is accepted, and mended by the filter.
func TestMailGoesOnWithoutTheMilter(t *testing.T) {
	t.Parallel()
	address := net.JoinHostPort("127.0.0.1", peer.FreePort(t))
	f := startChanged(t, func(f *forwarder, main, _ *string) {
		*main += strings.ReplaceAll(fmt.Sprintf(doorMain, "inet:"+address), "_timeout=5s", "_timeout=1s")
		*main = strings.ReplaceAll(*main, "_timeout=30s", "_timeout=1s")
	})
	f.check(f.dns.Add("reject.example TXT v=spf1 ip4:192.0.2.1 -all\n" +
		"_dmarc.reject.example TXT v=DMARC1; p=reject"))
	lines := f.syslog()
	sent := 0
	send := func(state string) {
		t.Helper()
		sent++
		id := mta.Submit(t, f.smtp, mta.Mail{From: "alice@reject.example", To: []string{"alias@example.org"},
			XClient: "ADDR=192.0.2.1", Content: []byte("From: alice@reject.example\nSubject: " + state +
				"\n\nx\n")})
		f.WaitLog(0, id+": removed")
	}
	send("never started")
	door := f.serve(address)
	send("with it")
	door.Process.Signal(syscall.SIGSTOP)
	send("stopped")
	door.Process.Signal(syscall.SIGCONT)
	door.Process.Kill()
	send("killed")
	f.waitEmptyQueue()
	judged := strings.Count(strings.Join(f.logged(lines), "\n"), "milter: client=192.0.2.1 ")
	if judged == 0 || judged > 2 { // one that was stopped goes on with what it has
		t.Errorf("%d messages were judged", judged)
	}
	got := f.remote.Messages()
	if len(got) != sent {
		t.Fatalf("%d of %d came", len(got), sent)
	}
	for _, m := range got {
		if !regexp.MustCompile(`(?m)^From: .*<alias@example\.org>\r$`).Match(m.Content) {
			t.Errorf("not mended: %.800s", m.Content)
		}
		if n := len(resultsField.FindAll(m.Content, -1)); n != 1 {
			t.Errorf("%d Authentication-Results of ours: %.800s", n, m.Content)
		}
	}
}

// TestRestartsAndReloadsLoseNothing: the resident milter is restarted and told to read its configuration
// again while mail comes in, and each message arrives once. RESTARTS sets how many messages.
func TestRestartsAndReloadsLoseNothing(t *testing.T) {
	t.Parallel()
	messages := 100
	if n, err := strconv.Atoi(os.Getenv("RESTARTS")); err == nil {
		messages = n
	}
	address := net.JoinHostPort("127.0.0.1", peer.FreePort(t))
	f := startChanged(t, func(f *forwarder, main, master *string) {
		*main += fmt.Sprintf(doorMain, "inet:"+address)
		withoutFilter(f, main, master)
	})
	f.check(f.dns.Add("reject.example TXT v=spf1 ip4:192.0.2.1 -all\n" +
		"_dmarc.reject.example TXT v=DMARC1; p=reject"))
	door := f.serve(address)
	finished := make(chan error, 1)
	const clients = 4
	for c := range clients {
		go func() {
			for n := c; n < messages; n += clients {
				content := fmt.Sprintf("From: alice@reject.example\nX-Token: %d\n\nx\n", n)
				if _, err := mta.TrySubmit(f.smtp, mta.Mail{From: "alice@reject.example",
					To:      []string{"box@example.org"},
					XClient: "ADDR=192.0.2.1", Content: []byte(content)}); err != nil {
					finished <- err
					return
				}
			}
			finished <- nil
		}()
	}
	ended := 0
	for restarts := 0; ended < clients; restarts++ {
		select {
		case err := <-finished:
			f.check(err)
			ended++
		case <-time.After(20 * time.Millisecond):
			if restarts%3 < 2 {
				door.Process.Signal(syscall.SIGHUP)
				continue
			}
			door.Process.Signal(syscall.SIGTERM)
			f.check(door.Wait())
			door = f.serve(address)
		}
	}
	f.waitEmptyQueue()
	came := map[string]int{}
	for _, m := range f.local.Messages() {
		came[string(regexp.MustCompile(`X-Token: (\d+)`).FindSubmatch(m.Content)[1])]++
	}
	for n := range messages {
		if came[strconv.Itoa(n)] != 1 {
			t.Errorf("message %d came %d times", n, came[strconv.Itoa(n)])
		}
	}
}
