package tests

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postmend/tests/mta"
	"postmend/tests/peer"
)

const reverseLine = "recipient_canonical_maps = socketmap:unix:private/postmend-reverse:reverse\n"

// ports of the tables that replace PostSRSd's.
type ports struct{ forward, reverse string }

// addTCPTables adds the lines of docs/postfix.md in place of PostSRSd to master.cf.
func (f *forwarder) addTCPTables(master *string) ports {
	p := ports{peer.FreePort(f.t), peer.FreePort(f.t)}
	*master += "\n" + strings.NewReplacer(":10001", ":"+p.forward, ":10002",
		":"+p.reverse).Replace(f.private(documented(f.t, "master.cf postsrsd")))
	return p
}

func replace(t testing.TB, text *string, old, new string) {
	t.Helper()
	if !strings.Contains(*text, old) {
		t.Fatalf("no %q in\n%s", old, *text)
	}
	*text = strings.Replace(*text, old, new, 1)
}

func TestBouncesComeHome(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(f *forwarder, main, master *string){
		"filter and socketmap, as by hand": func(*forwarder, *string, *string) {},
		"in place of PostSRSd": func(f *forwarder, main, master *string) {
			p := f.addTCPTables(master)
			replace(t, main, "content_filter = postmend:dummy\n", "")
			replace(t, main, "recipient_canonical_classes = envelope_recipient\n", "")
			replace(t, main, reverseLine, `sender_canonical_maps = tcp:127.0.0.1:`+p.forward+`
sender_canonical_classes = envelope_sender
recipient_canonical_maps = tcp:127.0.0.1:`+p.reverse+`
recipient_canonical_classes = envelope_recipient,header_recipient
`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bouncesComeHome(t, startChanged(t, change))
		})
	}
}

// TestPostfixsOwnBouncesLeave in whatever way mail leaves. As the transport, postmend signs them.
func TestPostfixsOwnBouncesLeave(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(f *forwarder, main, master *string){
		"pipe as transport": asTransport,
		"LMTP":              func(f *forwarder, main, master *string) { byLMTP(f, main, master) },
		"LMTP as transport": func(f *forwarder, main, master *string) {
			byLMTP(f, main, master)
			asTransport(f, main, master)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startChanged(t, change)
			f.remote.Refuse("remote@example.com")
			lines := f.syslog()
			id := mta.Submit(t, f.smtp, mta.Mail{From: "alice@sender.example",
				To: []string{"alias@example.org"}, XClient: stranger,
				Content: []byte("From: alice@sender.example\nSubject: x\n\nx\n")})
			bounce := f.remote.Wait(1)[0]
			header, _, _ := bytes.Cut(bounce.Content, []byte("\r\n\r\n"))
			isSigned := bytes.Contains(header, []byte("DKIM-Signature: "))
			if bounce.From != "" || bounce.To[0] != "alice@sender.example" || isSigned != (name != "LMTP") {
				t.Errorf("from %q to %q, signed: %t\n%.2000s", bounce.From, bounce.To, isSigned,
					bounce.Content)
			}
			notice := f.WaitLog(0, "sender non-delivery notification: (\\w+)")[1]
			f.WaitLog(0, id+": removed")
			f.WaitLog(0, notice+": removed")
			all := strings.Join(f.logged(lines), "\n")
			line := regexp.MustCompile(notice + ": classes=(bounce|reversed):1 from=<> ")
			if isSigned && !line.MatchString(all) {
				t.Errorf("no line for %s:\n%s", notice, all)
			}
		})
	}
}

func bouncesComeHome(t *testing.T, f *forwarder) {
	f.remote.Refuse("remote@example.com")
	for n, sender := range []string{"Alice@sender.example", `"a b"@sender.example`} {
		came, shown := 3*n, strings.ReplaceAll(sender, `"`, "") // the sink shows paths without their quotes
		message := func(subject string) []byte {
			return []byte("From: mailer@sender.example\nTo: x@example.net\nSubject: " + subject + "\nDate: " +
				"Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <" + subject + "@sender.example>\n\ntext\n")
		}
		// The next hop refuses: Postfix's own bounce goes to the original sender.
		mta.Submit(t, f.smtp, mta.Mail{From: sender, To: []string{"alias@example.org"}, XClient: stranger,
			Content: message("refused")})
		bounce := f.remote.Wait(came + 1)[came]
		if bounce.From != "" || bounce.To[0] != shown ||
			!bytes.Contains(bounce.Content, []byte("550 5.7.1 refused by the sink")) {
			t.Errorf("the bounce came from %q to %q:\n%.2000s", bounce.From, bounce.To, bounce.Content)
		}

		// The next hop takes the message and bounces it later, to the sender that it saw.
		mta.Submit(t, f.smtp, mta.Mail{From: sender, To: []string{"other@example.org"}, XClient: stranger,
			Content: message("taken")})
		seen := f.remote.Wait(came + 2)[came+1].From
		if !strings.HasSuffix(seen, "@"+srsDomain) {
			t.Fatalf("the next hop saw the sender %q", seen)
		}
		if strings.Contains(seen, " ") {
			seen = `"` + strings.Replace(seen, "@", `"@`, 1)
		}
		report := message("bounced")
		mta.Submit(t, f.smtp, mta.Mail{To: []string{seen}, XClient: stranger, Content: report})
		home := f.remote.Wait(came + 3)[came+2]
		if home.From != "" || home.To[0] != shown ||
			!bytes.HasSuffix(home.Content, bytes.ReplaceAll(report, []byte("\n"), []byte("\r\n"))) ||
			bytes.Contains(home.Content, []byte("DKIM-Signature")) ||
			bytes.Contains(home.Content, []byte("Authentication-Results")) {
			t.Errorf("the bounce to %s came from %q to %q:\n%s", seen, home.From, home.To, home.Content)
		}
	}

	valid, refused := srsAddress("alice@sender.example", time.Now()), "^550 5.1.1"
	expired := srsAddress("alice@sender.example", time.Now().AddDate(0, 0, -23))
	for address, want := range map[string]string{
		valid:                      "^250 ",
		"box@example.org":          "^250 ",
		expired:                    refused,
		forge(valid):               refused,
		"SRS0=x@srs.example.org":   refused,
		"somebody@srs.example.org": refused,
		"SRS1=AAAA=a.example==BBBB=AA=b.example=c@srs.example.org": refused,
	} {
		f.expectAtRCPT(address, want)
	}

	// Trouble of ours refuses nobody, and is over as soon as it is mended.
	secrets := filepath.Join(f.Dir, "secrets")
	f.check(os.Chmod(secrets, 0))
	f.expectAtRCPT(valid, "^451 4.3.0 ")
	f.expectAtRCPT(forge(valid), "^451 4.3.0 ")
	f.check(os.Chmod(secrets, 0o600))
	f.expectAtRCPT(valid, "^250 ")
	f.check(os.Rename(f.config, f.config+".away"))
	f.expectAtRCPT(valid, "^451 4.3.0 ")
	f.check(os.Rename(f.config+".away", f.config))
	f.expectAtRCPT(valid, "^250 ")
	f.waitEmptyQueue()
	if n := len(f.remote.Messages()); n != 6 {
		t.Errorf("%d messages came, want 6", n)
	}
}

// forge changes one character of the hash.
func forge(address string) string {
	c := "A"
	if strings.EqualFold(address[5:6], c) {
		c = "B"
	}
	return address[:5] + c + address[6:]
}

// expectAtRCPT asks the smtpd in front whether it takes mail for an address from a stranger.
func (f *forwarder) expectAtRCPT(address, pattern string) {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.smtp)
	f.check(err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(mta.Patience))
	in := bufio.NewReader(conn)
	last := ""
	for _, command := range []string{"", "XCLIENT " + stranger + "\r\n", "HELO mail.sender.example\r\n",
		"MAIL FROM:<>\r\n", "RCPT TO:<" + address + ">\r\n"} {
		_, err := conn.Write([]byte(command))
		f.check(err)
		last, err = in.ReadString('\n')
		f.check(err)
	}
	if !regexp.MustCompile(pattern).MatchString(last) {
		f.t.Errorf("RCPT TO:<%s> is answered %q, want %q", address, last, pattern)
	}
}

// postmap asks a table about many keys over one connection, and gives what it found.
func (f *forwarder) postmap(table string, keys []string) map[string]string {
	f.t.Helper()
	cmd := exec.Command("postmap", "-c", f.Dir, "-q", "-", table)
	cmd.Stdin = strings.NewReader(strings.Join(keys, "\n") + "\n")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if _, notFound := err.(*exec.ExitError); err != nil && !notFound || complaints.Len() > 0 {
		f.t.Fatalf("postmap %s: %v\n%s", table, err, complaints.String())
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		found[key] = value
	}
	return found
}

// srs1 is an SRS1 address up to its hash: ours covers more than PostSRSd's.
var srs1 = regexp.MustCompile(`^SRS1=[^=]*`)

func TestPostmapGetsTheSameFromPostSRSdAndFromUs(t *testing.T) {
	t.Parallel()
	var p ports
	f := startChanged(t, func(f *forwarder, _, master *string) { p = f.addTCPTables(master) })
	ours := func(direction string, keys []string) map[string]string {
		t.Helper()
		port := map[string]string{"forward": p.forward, "reverse": p.reverse}[direction]
		return f.postmap("tcp:127.0.0.1:"+port, keys)
	}
	daemon := startPostSRSd(t, filepath.Join(f.Dir, "secrets"))

	senders := []string{"uwe@example.org", "SRS0=abcd=AA=a.example=b@c.example",
		"SRS1=abcd=a.example==AA=b@c.example", "srs0+abcd=AA=a.example=b@c.example", "nobody",
		"a+b@c.example", "SRS@c.example"}
	for n := range 300 {
		senders = append(senders, fmt.Sprintf("user%d@host%d.example", n, n%7))
	}
	for sender, got := range ours("forward", []string{"a%b@c.example", "a!b@c.example", "a@b@c.example"}) {
		if got != "" {
			t.Errorf("forward %q: we say %q, to which Postfix would refuse bounces", sender, got)
		}
	}
	var addresses []string
	onOneDay(func() {
		got, want := ours("forward", senders), f.postmap("tcp:127.0.0.1:"+daemon.forward, senders)
		addresses = nil
		for _, sender := range senders {
			mine := srs1.ReplaceAllString(inItsAlphabet(got[sender]), "SRS1=")
			if mine != srs1.ReplaceAllString(want[sender], "SRS1=") {
				t.Errorf("forward %q: we say %q, PostSRSd %q", sender, got[sender], want[sender])
			}
			if want[sender] != "" {
				addresses = append(addresses, want[sender])
			}
		}
	})
	if len(addresses) < 300 {
		t.Fatalf("PostSRSd made %d addresses", len(addresses))
	}
	addresses = append(addresses, forge(addresses[0]), strings.ToLower(addresses[1]),
		strings.ToUpper(addresses[2]), "SRS0=x@srs.example.org", "uwe@example.org",
		"postmaster@srs.example.org", "nobody",
		inItsAlphabet(srsAddress("a@b.example", time.Now().AddDate(0, 0, -23))),
		inItsAlphabet(srsAddress("a@b.example", time.Now().AddDate(0, 0, -20))))
	got, want := ours("reverse", addresses), f.postmap("tcp:127.0.0.1:"+daemon.reverse, addresses)
	for _, address := range addresses {
		if got[address] != want[address] {
			t.Errorf("reverse %q: we say %q, PostSRSd %q", address, got[address], want[address])
		}
	}

	// postmap(1) asks them all over one connection.
	many := make([]string, 10000)
	for n := range many {
		many[n] = fmt.Sprintf("user%d@many.example", n)
	}
	found := ours("forward", many)
	back := make([]string, 0, len(found))
	for _, address := range found {
		back = append(back, address)
	}
	if home := ours("reverse", back); len(found) != len(many) || len(home) != len(many) {
		t.Errorf("of %d addresses %d were rewritten, and %d came back", len(many), len(found), len(home))
	}
	home := f.postmap("socketmap:unix:"+f.Dir+".spool/private/postmend-reverse:reverse", back)
	if len(home) != len(many) {
		t.Errorf("of %d addresses %d came back by socketmap", len(many), len(home))
	}
	answersAhead(t, p)
}

// answersAhead sends thousands of requests ahead, as Postfix does not.
func answersAhead(t *testing.T, p ports) {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+p.reverse)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(mta.Patience))
	const requests = 10000
	address := srsAddress("alice@sender.example", time.Now())
	go func() {
		for n := range requests {
			fmt.Fprintf(conn, "get %s\nget user%d@sender.example\n", address, n)
		}
		conn.(*net.TCPConn).CloseWrite()
	}()
	answers := bufio.NewScanner(conn)
	counts := map[string]int{}
	for answers.Scan() {
		counts[answers.Text()]++
	}
	if counts["200 alice@sender.example"] != requests ||
		counts["500 not%20an%20SRS%20address%20of%20this%20server"] != requests || len(counts) != 2 {
		t.Errorf("answers: %v, %v", counts, answers.Err())
	}
}
