package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postmend/tests/mta"
)

// refuser is an SMTP server that answers as the local part of the recipient says.
type refuser struct {
	port string
	mu   sync.Mutex
	seen map[string]int // attempts by recipient
}

// refusal is what a receiver answers: at RCPT or, if late, after the message. A text of several lines is folded as RFC 5321 has it. It
// is given the first n times, or always if n is 0.
type refusal struct {
	late bool
	n    int
	code int
	text string
}

// refusals are by local part of the recipient; whoever is not here is taken.
var refusals = map[string]refusal{
	"gmail-dmarc": {late: true, code: 550, text: "5.7.26 Unauthenticated email from sender is not accepted due to domain's\n5.7.26 DMARC policy. Please contact the administrator of sender domain if\n" +
		"5.7.26 this was a legitimate mail. To learn about the DMARC initiative, go\n5.7.26 to https://support.google.com/mail/?p=DmarcRejection x - gsmtp"},
	"microsoft-dmarc": {late: true, code: 550, text: "5.7.509 Access denied, sending domain sender does not pass DMARC verification and has a DMARC policy of reject."},
	"spf":             {code: 550, text: "5.7.23 <x>: Recipient address rejected: Message rejected due to: SPF fail - not authorized"},
	"dkim":            {late: true, code: 550, text: "5.7.20 No valid DKIM signature found: DKIM signature verification failed"},
	"neither":         {late: true, code: 550, text: "5.7.26 This mail has been blocked because the sender is unauthenticated.\n5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM."},
	"spam":            {late: true, code: 554, text: "5.7.1 Spam message rejected"},
	"nobody":          {code: 550, text: "5.1.1 <nobody>: Recipient address rejected: User unknown in virtual mailbox table"},
	"full":            {code: 552, text: "5.2.2 The email account that you tried to reach is over quota"},
	"ptr":             {code: 550, text: "5.7.25 The IP address sending this message does not have a PTR record setup"},
	"blocked":         {code: 554, text: "5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org"},
	"odd":             {code: 550, text: "5.9.9 computer says no \x1b[31mred"},
	"grey":            {n: 1, code: 450, text: "4.2.0 <grey>: Recipient address rejected: Greylisted, try again in 300 seconds"},
	"busy":            {code: 451, text: "4.3.2 Temporary server error. Please try again later"},
}

func startRefuser(t testing.TB) *refuser {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	r := &refuser{seen: map[string]int{}}
	_, r.port, _ = net.SplitHostPort(listener.Addr().String())
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go r.serve(textproto.NewConn(conn))
		}
	}()
	return r
}

// answer gives what there is to say against a recipient.
func (r *refuser) answer(to string) (refusal, bool) {
	local, _, _ := strings.Cut(to, "@")
	answer, refuse := refusals[local]
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[to]++
	return answer, refuse && (answer.n == 0 || r.seen[to] <= answer.n)
}

func (r *refuser) serve(c *textproto.Conn) {
	defer c.Close()
	say := func(code int, text string) {
		lines := strings.Split(text, "\n")
		for n, line := range lines {
			divider := "-"
			if n == len(lines)-1 {
				divider = " "
			}
			c.PrintfLine("%d%s%s", code, divider, line)
		}
	}
	say(220, "refuser ESMTP")
	var late *refusal
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		upper := strings.ToUpper(line)
		switch {
		case strings.HasPrefix(upper, "EHLO"):
			say(250, "refuser\n8BITMIME\nENHANCEDSTATUSCODES")
		case strings.HasPrefix(upper, "MAIL"):
			late = nil
			say(250, "2.1.0 Ok")
		case strings.HasPrefix(upper, "RCPT"):
			to := line[strings.IndexByte(line, '<')+1 : strings.IndexByte(line, '>')]
			if answer, refuse := r.answer(to); refuse && !answer.late {
				say(answer.code, answer.text)
				continue
			} else if refuse {
				late = &answer
			}
			say(250, "2.1.5 Ok")
		case upper == "DATA":
			say(354, "go on")
			if _, err := c.ReadDotBytes(); err != nil {
				return
			}
			if late != nil {
				say(late.code, late.text)
				continue
			}
			say(250, "2.0.0 Ok: queued as 1F2E3D4C5B6A")
		case upper == "QUIT":
			say(221, "2.0.0 Bye")
			return
		default:
			say(250, "2.0.0 Ok")
		}
	}
}

// counts are those of a row of the report.
type counts struct {
	Delivered, Deferred, Refused, Discarded int
	PutOff                                  int `json:"put_off"`
	Classes                                 map[string]int
}

// reportData is the part of the report's JSON form that these tests look at.
type reportData struct {
	Kinds   map[string]counts
	Log     struct{ Notices, Evicted, Lost int }
	Classes []struct {
		Class             string
		Refused, Deferred int
	}
	Domains   rows `json:"sender_domains"`
	Receivers rows
	Aliases   rows
	Advice    []struct {
		Class, Advice string
		Count         int
		Domains       []string `json:"sender_domains"`
	}
	Strict []struct {
		Domain  string
		Refused int
	} `json:"strict_domains"`
	Filter, Program struct {
		Runs        int
		Median, Max float64
	}
}

type rows struct {
	Rows []struct {
		Name string
		counts
	}
}

// tell gives the rows in one line each: "name delivered deferred refused class=n …".
func (r rows) tell() []string {
	var list []string
	for _, row := range r.Rows {
		line := fmt.Sprintf("%s %d %d %d", row.Name, row.Delivered, row.Deferred, row.Refused)
		var classes []string
		for class, n := range row.Classes {
			classes = append(classes, fmt.Sprintf(" %s=%d", class, n))
		}
		slices.Sort(classes)
		list = append(list, line+strings.Join(classes, ""))
	}
	slices.Sort(list)
	return list
}

// aliases of the report's forwarder: each goes to the same local part elsewhere.
func reportAliases() string {
	var list []string
	for local := range refusals {
		list = append(list, fmt.Sprintf("%s@example.org=%[1]s@mail.example.com", local))
	}
	slices.Sort(list)
	return strings.Join(append(list, "ok@example.org=ok@mail.example.net"), ", ")
}

func TestReportCountsEveryMessageOnceAndChargesItToTheRightDomain(t *testing.T) {
	f := start(t, "")
	refuser := startRefuser(t)
	f.postconf("relayhost=[127.0.0.1]:"+refuser.port, "virtual_alias_maps=inline:{ "+reportAliases()+" }", "smtpd_recipient_limit=100")
	f.configure("[reinject]", "[dmarc]\nforbid_munge = [\"kept.example\"]\n[reinject]")
	f.check(f.dns.Add("_dmarc.kept.example TXT v=DMARC1; p=reject\nkept.example TXT v=spf1 ip4:192.0.2.25 -all\n" +
		"_dmarc.munged.example TXT v=DMARC1; p=reject\nmunged.example TXT v=spf1 ip4:192.0.2.25 -all\n" +
		"_dmarc.failed.example TXT v=DMARC1; p=reject\nfailed.example TXT v=spf1 -all\n"))
	own := f.syslog()

	submit := func(from, xclient string, to ...string) string {
		author := from
		if from == "" || strings.HasPrefix(from, "SRS") {
			author = "mailer@sender.example"
		}
		return mta.Submit(t, f.smtp, mta.Mail{From: from, To: to, XClient: xclient,
			Content: []byte("From: " + author + "\nSubject: test\n\nHello.\n")})
	}
	at := func(local string) string { return local + "@example.org" }
	submit("alice@sender.example", stranger, at("ok"))
	submit("alice@sender.example", stranger, at("ok"), at("spam"), "box@example.org")
	submit("bob@sender.example", stranger, at("nobody"))
	submit("bob@kept.example", stranger, at("gmail-dmarc"))
	submit("bob@kept.example", stranger, at("microsoft-dmarc"))
	submit("bob@munged.example", stranger, at("gmail-dmarc"))
	submit("bob@failed.example", stranger, at("gmail-dmarc"))
	submit("carol@silent.example", stranger, at("spf"))
	submit("carol@silent.example", stranger, at("dkim"))
	submit("carol@silent.example", stranger, at("neither"))
	submit("dave@other.example", stranger, at("full"), at("ptr"), at("blocked"))
	submit("dave@other.example", stranger, at("odd"))
	submit("SRS0=abcd=AA=origin.example=erin@relay.example", stranger, at("nobody"))
	submit("", stranger, at("nobody"))
	submit("", stranger, at("ok"))
	submit("", stranger, srsAddress("frank@origin.example", time.Now()))
	submit("", stranger, strings.Replace(srsAddress("frank@origin.example", time.Now()), "SRS0=", "SRS0=x", 1))
	submit("box@example.org", "", "friend@mail.example.net")
	submit("box@example.org", "", "nobody@mail.example.net")
	submit("alice@sender.example", stranger, "box@example.org")
	submit(`"a> status=sent ("@quoted.example`, stranger, at("spam"))
	submit("grace@sender.example", stranger, at("grey"))
	submit("grace@sender.example", stranger, at("busy"))
	grey := f.WaitLog(0, `(\w+): to=<grey@mail.example.com>.* relay=127.* status=deferred`)[1]
	f.WaitLog(0, `to=<busy@mail.example.com>.* relay=127.* status=deferred`)
	f.Retry(grey)
	f.WaitLog(0, grey+`: removed`)
	f.waitQueue(1)

	log := f.withOwnLines(own)
	path := filepath.Join(f.Dir, "mail.log")
	f.check(os.WriteFile(path, log, 0o644))
	if keep := os.Getenv("POSTMEND_KEEP_LOG"); keep != "" {
		f.check(os.WriteFile(keep, log, 0o644))
	}
	var got reportData
	f.check(json.Unmarshal(f.report("--json", "--top", "100", path), &got))

	for kind, want := range map[string]counts{
		"forwarded": {Delivered: 4, Deferred: 1, Refused: 16, PutOff: 2},
		"local":     {Delivered: 2},
		"outgoing":  {Delivered: 1, Refused: 1},
		"returned":  {Delivered: 1, Refused: 1},
	} {
		if g := got.Kinds[kind]; fmt.Sprint(g) != fmt.Sprint(want) {
			t.Errorf("%s: %+v, want %+v", kind, g, want)
		}
	}
	wantRows(t, "sender domains", got.Domains,
		"<> 1 0 1 mailbox=1", "failed.example 0 0 1 dmarc=1", "kept.example 0 0 2 dmarc=2", "munged.example 0 0 1 dmarc=1",
		"origin.example 0 0 1 mailbox=1", "other.example 0 0 4 full=1 other=1 ptr-tls=1 reputation=1", "quoted.example 0 0 1 content=1",
		"sender.example 3 1 2 content=1 mailbox=1 server=1", "silent.example 0 0 3 dkim=1 spf=1 unauthenticated=1")
}

func wantRows(t *testing.T, what string, got rows, want ...string) {
	t.Helper()
	slices.Sort(want)
	if lines := got.tell(); !slices.Equal(lines, want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// postconf changes main.cf of the running Postfix.
func (f *forwarder) postconf(settings ...string) {
	f.t.Helper()
	for _, args := range [][]string{append([]string{"postconf", "-c", f.Dir, "-e"}, settings...), {"postfix", "-c", f.Dir, "reload"}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			f.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	f.WaitLog(0, "reload -- version")
}

// waitQueue waits until Postfix holds no more than n messages.
func (f *forwarder) waitQueue(n int) {
	f.t.Helper()
	for started := time.Now(); len(f.Queue()) > n; {
		if time.Since(started) > mta.Patience {
			f.t.Fatalf("the queue still has %v", f.Queue())
		}
	}
}

// withOwnLines gives the mail log with postmend's lines in it, as a syslog daemon would have put them: each before the line of pipe(8) that
// tells how the run ended.
func (f *forwarder) withOwnLines(own <-chan string) []byte {
	f.t.Helper()
	host, err := os.Hostname()
	f.check(err)
	lines := map[string][]string{} // by queue id
	for len(own) > 0 {
		found := regexp.MustCompile(`^<22>(.{15}) (postmend\[\d+\]: (\w+): .*)`).FindStringSubmatch(<-own)
		if found != nil {
			lines[found[3]] = append(lines[found[3]], found[1]+" "+host+" "+found[2])
		}
	}
	var log bytes.Buffer
	piped := regexp.MustCompile(`/pipe\[\d+\]: (\w+): to=`)
	for line := range strings.Lines(f.Log() + "\n") {
		if found := piped.FindStringSubmatch(line); found != nil {
			for _, mended := range lines[found[1]] {
				log.WriteString(mended + "\n")
			}
			delete(lines, found[1])
		}
		log.WriteString(line)
	}
	for id := range lines {
		f.t.Errorf("no line of pipe(8) about %s, which postmend had", id)
	}
	return log.Bytes()
}

// report runs postmend report.
func (f *forwarder) report(args ...string) []byte {
	f.t.Helper()
	cmd := exec.Command(f.program, append([]string{"report"}, args...)...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		f.t.Fatalf("postmend report %s: %v\n%s", strings.Join(args, " "), err, complaint.String())
	}
	return out
}
