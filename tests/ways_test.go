package tests

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"postmend/tests/mta"
	"postmend/tests/peer"
)

// ofPipe is the entry for pipe(8) in master.cf.
var ofPipe = regexp.MustCompile(`(?m)^postmend  unix.*\n(?:[ \t].*\n)*`)

// byLMTP changes the documented lines to those for `serve`, which it starts.
func byLMTP(f *forwarder, main, master *string) *served {
	s := &served{f: f, address: net.JoinHostPort("127.0.0.1", peer.FreePort(f.t))}
	if !ofPipe.MatchString(*master) {
		f.t.Fatal("no entry for pipe(8)")
	}
	*master = ofPipe.ReplaceAllLiteralString(*master, documented(f.t, "master.cf lmtp"))
	lines := strings.ReplaceAll(documented(f.t, "main.cf lmtp"), "127.0.0.1:10025", s.address)
	*main = mta.Merge(*main, lines)
	s.start()
	f.t.Cleanup(s.kill)
	return s
}

// bySpawn changes the documented lines to those for `postmend lmtp` under spawn(8).
func bySpawn(f *forwarder, main, master *string) {
	*master = ofPipe.ReplaceAllLiteralString(*master, documented(f.t, "master.cf lmtp"))
	*master += strings.Replace(f.private(documented(f.t, "master.cf lmtp spawn")), " lmtp ",
		" lmtp --trust-orcpt ", 1)
	*main = mta.Merge(*main, documented(f.t, "main.cf lmtp"))
	*main = mta.Merge(*main, documented(f.t, "main.cf lmtp spawn"))
}

// served is a `postmend serve --lmtp`.
type served struct {
	f       *forwarder
	address string
	process *exec.Cmd
}

func (s *served) start() {
	s.f.t.Helper()
	nobody, err := user.Lookup("nobody")
	s.f.check(err)
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	s.process = exec.Command(s.f.program, "serve", "-c", s.f.config, "--lmtp", "inet:"+s.address,
		"--trust-orcpt")
	s.process.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	s.process.Stderr = os.Stderr
	s.f.check(s.process.Start())
	s.wait()
}

// wait waits until it serves.
func (s *served) wait() {
	s.f.t.Helper()
	for started := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", s.address)
		if err == nil {
			conn.Close()
			return
		}
		if time.Since(started) > mta.Patience {
			s.f.t.Fatalf("serve does not serve: %v", err)
		}
	}
}

// kill ends it as a crash does.
func (s *served) kill() {
	s.process.Process.Kill()
	s.process.Wait()
}

// asTransport has what leaves for a remote domain pass the filter, and nothing else.
func asTransport(f *forwarder, main, master *string) {
	value := regexp.MustCompile(`(?m)^content_filter = (.*)$`).FindStringSubmatch(*main)[1]
	next := strings.Replace(value, ":dummy", ":", 1)
	*main = strings.Replace(*main, "content_filter = "+value+"\n", "default_transport = "+next+"\n", 1)
	replace(f.t, master, "  -o content_filter=\n", "  -o content_filter=smtp:[127.0.0.1]:"+f.remote.Port+"\n")
}

// goOtherWays sets a forwarder up in the ways that WAYS names (milter, LMTP, transport), where its test has
// not chosen any: so `make ways` runs the tests in each.
func (f *forwarder) goOtherWays(main, master *string) {
	isAsked := func(way string) bool { return slices.Contains(strings.Fields(os.Getenv("WAYS")), way) }
	if isAsked("milter") && !strings.Contains(*main, "\nsmtpd_milters = ") {
		withDoor(f, main, master)
	}
	if !strings.Contains(*main, "\ncontent_filter = postmend:dummy\n") {
		return
	}
	if isAsked("LMTP") {
		byLMTP(f, main, master)
	}
	if isAsked("transport") {
		asTransport(f, main, master)
	}
}

// TestEveryWayIntoTheFilterGivesTheSameDeliveries: by pipe(8), by LMTP, and each of them as the default
// transport.
func TestEveryWayIntoTheFilterGivesTheSameDeliveries(t *testing.T) {
	t.Parallel()
	ways := map[string]func(f *forwarder, main, master *string){
		"pipe":              func(*forwarder, *string, *string) {},
		"pipe as transport": asTransport,
		"LMTP":              func(f *forwarder, main, master *string) { byLMTP(f, main, master) },
		"LMTP by spawn":     bySpawn,
		"LMTP as transport": func(f *forwarder, main, master *string) {
			byLMTP(f, main, master)
			asTransport(f, main, master)
		},
	}
	random := rand.New(rand.NewPCG(3, 4))
	texts := bodies(random)
	delete(texts, "1 MB line")
	results := map[string]map[string]string{}
	t.Run("ways", func(t *testing.T) {
		for name, change := range ways {
			result := map[string]string{}
			results[name] = result
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f := startChanged(t, func(f *forwarder, main, master *string) {
					// XCLIENT tells of a login, but without SASL smtpd(8) has no rule for it.
					*main = mta.Merge(*main,
						"smtpd_relay_restrictions = check_helo_access static:OK, reject\n")
					change(f, main, master)
				})
				f.check(f.dns.Add(`sender.example TXT v=spf1 ip4:192.0.2.25 -all
_dmarc.sender.example TXT v=DMARC1; p=reject
origin.example TXT v=spf1 -all`))
				f.pass(t, texts, result)
			})
		}
	})
	for name, result := range results {
		for message, want := range results["pipe"] {
			if got := result[message]; got != want {
				t.Errorf("%s: %s differs:\n%.1500q\nby pipe\n%.1500q", name, message, got, want)
			}
		}
		if len(result) != len(results["pipe"]) || len(result) < 50 {
			t.Errorf("%s: %d deliveries, by pipe %d", name, len(result), len(results["pipe"]))
		}
	}
}

// pass sends each route's mail with some of the bodies, and notes what arrives for each recipient.
func (f *forwarder) pass(t *testing.T, texts map[string]string, result map[string]string) {
	var kinds []string
	for kind := range texts {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	several := map[string]bool{}
	local, remote := 0, 0
	for n, r := range append(routes(), moreRoutes()...) {
		for i := range 3 {
			kind := kinds[(3*n+i)%len(kinds)]
			token := fmt.Sprintf("%s, %s", r.name, kind)
			several[token] = len(r.to) > 1
			header := fmt.Sprintf("From: %s\nTo: somebody@example.org\nSubject: %s\n"+
				"Date: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <%d.%d@sender.example>\nX-Token: %s\n",
				r.author, kind, n, i, token)
			mta.Submit(t, f.smtp,
				mta.Mail{From: r.from, To: r.to, XClient: r.xclient,
					Content: []byte(header + "\n" + texts[kind])})
			for _, to := range r.want {
				if strings.HasSuffix(to, "@example.org") {
					local++
				} else {
					remote++
				}
			}
		}
	}
	// By LMTP in transport mode, Postfix tells nothing of what sendmail(1) brought, not even a queue id.
	submission := exec.Command("sendmail", "-C", f.Dir, "-i", "-f", "box@example.org", "friend@example.net")
	submission.Stdin = strings.NewReader("From: box@example.org\nTo: friend@example.net\nSubject: cron\n" +
		"Date: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <cron@example.org>\nX-Token: sendmail\n\nhello\n")
	if out, err := submission.CombinedOutput(); err != nil {
		t.Fatalf("sendmail: %v\n%s", err, out)
	}
	remote++
	waitRecipients(f.local, local)
	waitRecipients(f.remote, remote)
	f.waitEmptyQueue()
	token := regexp.MustCompile(`(?m)^X-Token: (.*)\r$`)
	for _, got := range append(f.local.Messages(), f.remote.Messages()...) {
		found := token.FindSubmatch(got.Content)
		if found == nil {
			t.Errorf("a message of nobody: %.500q", got.Content)
			continue
		}
		for _, to := range got.To {
			key := string(found[1]) + " to " + to
			if result[key] != "" {
				t.Errorf("%s came twice", key)
			}
			result[key] = "from " + got.From + "\n" + comparable(got.Content, several[string(found[1])])
		}
	}
}

// waitRecipients waits until a sink has had messages for so many recipients.
func waitRecipients(s *mta.Sink, want int) {
	for n := 0; ; {
		messages := s.Wait(n)
		got := 0
		for _, m := range messages {
			got += len(m.To)
		}
		if got >= want {
			return
		}
		n = len(messages) + 1
	}
}

// moreRoutes are those whose outcome differs between recipients, or whose client logged in.
func moreRoutes() []route {
	return []route{
		{"forged From: of our own domain beside a mailbox", "alice@other.example",
			[]string{"box@example.org"}, stranger, "boss@example.org",
			[]string{"box@example.org"}, "", false},
		{"user who logged in", "box@example.org", []string{"friend@example.net", "pal@example.net"},
			stranger + " LOGIN=box", "box@example.org",
			[]string{"friend@example.net", "pal@example.net"}, "", true},
		{"two aliases and a mailbox", "alice@sender.example",
			[]string{"alias@example.org", "other@example.org", "box@example.org"},
			stranger, "alice@sender.example",
			[]string{"remote@example.com", "other@example.net", "box@example.org"}, "srs", true},
	}
}

// What differs from one message to the next, or between the ways by design.
var (
	passing = regexp.MustCompile(`(?m)^(?:Received|X-Postmend-Arrival):.*\r\n(?:[ \t].*\r\n)*`)
	values  = regexp.MustCompile(`((?:\n|; ?|\t| )(?:b|bh|t)=)[^;]*`)
	told    = regexp.MustCompile(`(?m)^X-Forwarded-(?:To|For): .*\r\n`)
	blanks  = regexp.MustCompile(`\r\n[ \t]+`)
)

// comparable is a message without the passing of hosts and without the values of signatures; several says
// that it was for several recipients.
func comparable(content []byte, several bool) string {
	header, body, _ := bytes.Cut(content, []byte("\r\n\r\n"))
	text := passing.ReplaceAllString(string(header)+"\r\n", "")
	if several {
		text = told.ReplaceAllString(text, "")
	}
	var fields []string
	for field := range strings.SplitSeq(blanks.ReplaceAllString(text, " "), "\r\n") {
		if name, _, _ := strings.Cut(field, ":"); strings.HasSuffix(name, "Signature") || name == "ARC-Seal" {
			field = values.ReplaceAllString(field, "$1")
			field = strings.ReplaceAll(field, " ", "")
		}
		fields = append(fields, field)
	}
	return strings.Join(fields, "\n") + "\n" + string(body)
}
