package tests

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"blitiri.com.ar/go/spf"

	"postmend/tests/mta"
	"postmend/tests/peer"
)

// longSenders are in the style of services that send bulk mail, and some that Postfix reads as routing.
var longSenders = []string{
	"01020192f0a1b2c3-4d5e6f70-8192-a3b4-c5d6-e7f809102132-000000@eu-west-1.ses.sender.example",
	"bounces+12345678-7c3e-alias=example.org@em1234.newsletter.sender.example",
	"list-return-12345-alias=example.org-with-a-verp-that-is-long@lists.sender.example",
	"3AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-AbCdEfGhIjKlMn@scoutcamp.bounces.sender.example",
	`"odd@local"@sender.example`, "user%host@sender.example", "host!user@sender.example",
}

// withStore lets a forwarder store senders.
func (f *forwarder) withStore(url string) {
	f.t.Helper()
	f.configure("secrets_file = \"secrets\"\n", "secrets_file = \"secrets\"\nstore = \""+url+"\"\n")
}

// sharedFolder is a folder for a store of the account that runs the filters.
func sharedFolder(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(mta.Folder(t), "srs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	chownNobody(t, dir)
	return dir
}

// Bounces for senders that do not fit into an SRS address come home on the host that forwarded, and on
// another that has the same secret and store.
func TestLongAndOddSendersComeHome(t *testing.T) {
	t.Parallel()
	peer.NeedRoot(t)
	for name, open := range map[string]func(t *testing.T) (url string, stop, again func()){
		"files": func(t *testing.T) (string, func(), func()) {
			dir := sharedFolder(t)
			move := func(from, to string) func() {
				return func() {
					if err := os.Rename(from, to); err != nil {
						t.Fatal(err)
					}
				}
			}
			return "dir:" + dir, move(dir, dir+".away"), move(dir+".away", dir)
		},
		"Redis": func(t *testing.T) (string, func(), func()) {
			redis := peer.StartRedis(t)
			return "redis://127.0.0.1:" + redis.Port + "/0", redis.Kill, redis.Start
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, stop, again := open(t)
			configure := func(f *forwarder, _, _ *string) { f.withStore(url) }
			here, there := startChanged(t, configure), startChanged(t, configure)
			here.check(here.dns.Add(srsDomain + " TXT v=spf1 ip4:192.0.2.80 -all"))
			var aliases []string
			for _, sender := range longSenders {
				aliases = append(aliases, comesHome(t, here, there, sender))
			}
			// A bounce that Postfix makes itself.
			here.remote.Refuse("remote@example.com")
			came := len(here.remote.Messages())
			mta.Submit(t, here.smtp, mta.Mail{From: longSenders[0], To: []string{"alias@example.org"},
				XClient: stranger, Content: bulkLetter("refused")})
			if bounce := here.remote.Wait(came + 1)[came]; bounce.From != "" ||
				bounce.To[0] != longSenders[0] {
				t.Errorf("the bounce of Postfix came from %q to %q", bounce.From, bounce.To)
			}

			for _, f := range []*forwarder{here, there} {
				f.expectAtRCPT(aliases[0], "^250 ")
				f.expectAtRCPT(forge(aliases[0]), "^550 5.1.1")
				local, _, _ := strings.Cut(aliases[0], "@")
				f.expectAtRCPT(local[:len(local)-20]+strings.Repeat("a", 20)+"@"+srsDomain, "^550 5.1.1")
				other := aliases[1][strings.LastIndex(aliases[1], "=")+1:]
				f.expectAtRCPT(local[:len(local)-20]+other, "^550 5.1.1")
			}
			stop()
			here.expectAtRCPT(aliases[0], "^451 4.3.0 ")
			here.expectAtRCPT(forge(aliases[0]), "^550 5.1.1") // needs no store
			mark := here.Mark()
			id := mta.Submit(t, here.smtp, mta.Mail{From: longSenders[1], To: []string{"other@example.org"},
				XClient: stranger, Content: bulkLetter("waits")})
			here.WaitLog(mark, id+": to=<other@example.net>.*dsn=4.3.0, status=deferred")
			again()
			here.expectAtRCPT(aliases[0], "^250 ")
			came = len(here.remote.Messages())
			here.Retry(id)
			here.remote.Wait(came + 1)
			here.waitEmptyQueue()
		})
	}
}

func bulkLetter(subject string) []byte {
	return []byte("From: mailer@sender.example\nTo: x@example.net\nSubject: " + subject +
		"\nDate: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <" + subject + "@sender.example>\n\ntext\n")
}

// comesHome forwards mail with a sender, and brings bounces back on both hosts.
func comesHome(t *testing.T, here, there *forwarder, sender string) (alias string) {
	t.Helper()
	came := len(here.remote.Messages())
	mta.Submit(t, here.smtp, mta.Mail{From: sender, To: []string{"other@example.org"}, XClient: stranger,
		Content: bulkLetter("taken")})
	alias = here.remote.Wait(came + 1)[came].From
	local, domain, _ := strings.Cut(alias, "@")
	if !regexp.MustCompile(`^SRS0=.{4}=..=1=[a-z2-7]{20}$`).MatchString(local) || domain != srsDomain {
		t.Fatalf("%s left as %q", sender, alias)
	}
	if result, err := spf.CheckHostWithSender(net.ParseIP("192.0.2.80"), "mx.example.org", alias,
		spf.WithResolver(here.dns.Resolver())); result != spf.Pass {
		t.Errorf("SPF at the receiver for %s: %s, %v", alias, result, err)
	}
	for _, host := range []*forwarder{here, there} {
		for _, spelling := range []string{alias, strings.ToLower(alias)} {
			came := len(host.remote.Messages())
			mta.Submit(t, host.smtp, mta.Mail{To: []string{spelling}, XClient: stranger,
				Content: bulkLetter("bounced")})
			home := host.remote.Wait(came + 1)[came]
			if shown := strings.ReplaceAll(sender, `"`, ""); home.From != "" || len(home.To) != 1 ||
				home.To[0] != shown {
				t.Errorf("the bounce to %s came from %q to %q, want %s", spelling, home.From, home.To, sender)
			}
		}
	}
	return alias
}

// Under random ends of filter processes and of the store, no message with a long sender is lost or bounces,
// and each alias that left leads to its sender.
func TestASoakOfLongSendersLosesNoneAndEachAliasResolves(t *testing.T) {
	t.Parallel()
	messages := 60
	if n, err := strconv.Atoi(os.Getenv("SOAK")); err == nil {
		messages = n
	}
	s := &soak{forwarder: startChanged(t, withoutReverseTable), to: []string{"alias@example.org"},
		random: rand.New(rand.NewPCG(7, 7))}
	s.retrySoon()
	redis := peer.StartRedis(t)
	dir := sharedFolder(t)
	stores := []string{"redis+unix://" + redis.Socket, "dir:" + dir}
	s.withStore(stores[0])
	s.check(s.dns.Add("_dmarc.sender.example TXT v=DMARC1; p=reject\n" +
		"em1234.newsletter.sender.example TXT v=spf1 ip4:192.0.2.25 -all"))
	longSender := func(n int) string {
		return fmt.Sprintf("bounces+%06d-7c3e-alias=example.org-and-more@em1234.newsletter.sender.example", n)
	}
	used := 0
	faults := []fault{
		{arm: redis.Kill, mend: redis.Start},
		{arm: func() { s.check(os.Rename(dir, dir+".away")) },
			mend: func() { s.check(os.Rename(dir+".away", dir)) }},
		{arm: func() { s.check(os.Chmod(dir, 0o500)) }, mend: func() { s.check(os.Chmod(dir, 0o700)) }},
		{during: func() { redis.Kill(); redis.Start() }},
		{during: func() { // half of the run each
			if used == 0 && len(s.sent) > messages/2 {
				used = 1
				s.configure(stores[0], stores[1])
			}
		}},
	}
	for range 4 {
		faults = append(faults, fault{during: func() { s.killSome(5) }})
	}
	for len(s.sent) < messages {
		f := faults[s.random.IntN(len(faults))]
		if f.arm != nil {
			f.arm()
		}
		mark := s.Mark()
		var batch []string
		for range min(5, messages-len(s.sent)) {
			n := len(s.sent)
			content := fmt.Sprintf("From: alice@sender.example\nSubject: soak\nDate: Mon, 2 Nov 2026 "+
				"10:00:00 +0000\nMessage-ID: <%d@sender.example>\nX-Token: soak-%[1]d\n\ntext\n", n)
			id := mta.Submit(t, s.smtp, mta.Mail{From: longSender(n), To: []string{"alias@example.org"},
				XClient: stranger, Content: []byte(content)})
			s.sent = append(s.sent, soaked{id, fmt.Sprintf("soak-%d", n)})
			batch = append(batch, id)
		}
		if f.during != nil {
			f.during()
		}
		s.WaitLog(mark, "(?:"+strings.Join(batch, "|")+"): to=<")
		if f.mend != nil {
			f.mend()
		}
	}
	s.flush()
	s.account()

	token := regexp.MustCompile(`(?m)^X-Token: soak-(\d+)\r$`)
	want, asked := map[string][]string{}, map[string][]string{} // by store
	for _, got := range s.remote.Messages() {
		n, _ := strconv.Atoi(string(token.FindSubmatch(got.Content)[1]))
		if !strings.Contains(got.From, "=1=") {
			t.Errorf("message %d left as %q", n, got.From)
			continue
		}
		for _, store := range stores {
			want[store], asked[store] = append(want[store], longSender(n)), append(asked[store], got.From)
		}
	}
	found := make([]bool, len(asked[stores[0]]))
	for _, store := range stores { // each sender is in the store that was in use
		config, err := os.ReadFile(s.config)
		s.check(err)
		for _, other := range stores {
			config = bytes.ReplaceAll(config, []byte(other), []byte(store))
		}
		path := filepath.Join(s.Dir, "ask.toml")
		s.check(os.WriteFile(path, config, 0o644))
		for i, alias := range asked[store] {
			out, _ := exec.Command(s.program, "srs", "reverse", "-c", path, alias).Output()
			found[i] = found[i] || strings.TrimSpace(string(out)) == want[store][i]
		}
	}
	for i, ok := range found {
		if !ok {
			t.Errorf("%s does not lead to %s", asked[stores[0]][i], want[stores[0]][i])
		}
	}
}
