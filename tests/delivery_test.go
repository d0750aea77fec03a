package tests

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"postmend/dkim"
	"postmend/tests/judge"
	"postmend/tests/mta"
)

const stranger = "NAME=mail.sender.example ADDR=192.0.2.25"

// route is a way through the forwarder: who sends, who receives, and what has to come out.
type route struct {
	name    string
	from    string
	to      []string
	xclient string
	author  string
	// What must arrive, by recipient: at the remote sink if the recipient is not in example.org.
	want []string
	// sender is what the remote sink must see: "srs" stands for the SRS form of from.
	sender string
	signed bool
}

func routes() []route {
	return []route{
		{"alias to a remote mailbox", "alice@sender.example", []string{"alias@example.org"}, stranger,
			"alice@sender.example", []string{"remote@example.com"}, "srs", true},
		{"local mailbox", "alice@sender.example", []string{"box@example.org"}, stranger,
			"alice@sender.example", []string{"box@example.org"}, "", false},
		{"alias and mailbox", "alice@sender.example", []string{"alias@example.org", "box@example.org"},
			stranger, "alice@sender.example", []string{"remote@example.com", "box@example.org"}, "srs", true},
		{"two aliases", "bob@sender.example", []string{"alias@example.org", "other@example.org"}, stranger,
			"bob@sender.example", []string{"remote@example.com", "other@example.net"}, "srs", true},
		{"own user to a remote mailbox", "box@example.org", []string{"friend@example.net"}, "",
			"box@example.org", []string{"friend@example.net"}, "box@example.org", true},
		{"bounce through an alias", "", []string{"alias@example.org"}, stranger,
			"mailer-daemon@sender.example", []string{"remote@example.com"}, "", true},
		{"bounce to an SRS address of ours", "", []string{srsAddress("carol@origin.example", time.Now())},
			stranger, "mailer-daemon@sender.example", []string{"carol@origin.example"}, "", false},
		{"already rewritten by another forwarder", "SRS0=abcd=AA=origin.example=carol@sender.example",
			[]string{"alias@example.org"}, stranger, "carol@origin.example",
			[]string{"remote@example.com"}, "srs", true},
		{"sender of a local domain from outside", "box@example.org", []string{"alias@example.org"}, stranger,
			"alice@sender.example", []string{"remote@example.com"}, "box@example.org", true},
		{"forged From: of our own domain", "alice@sender.example", []string{"alias@example.org"}, stranger,
			"boss@example.org", []string{"remote@example.com"}, "alice@sender.example", false},
	}
}

// srsAddress computes an SRS0 address from the scheme's definition, apart from the program under test.
func srsAddress(address string, now time.Time) string {
	user, host, _ := strings.Cut(address, "@")
	const base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	days := now.Unix() / 86400 % 1024
	stamp := string([]byte{base32[days/32], base32[days%32]})
	return fmt.Sprintf("SRS0=%s=%s=%s=%s@%s", srsHash(stamp+host+user), stamp, host, user, srsDomain)
}

func srsHash(text string) string {
	mac := hmac.New(sha1.New, []byte(srsSecret))
	mac.Write([]byte(strings.ToLower(text)))
	return base64.URLEncoding.EncodeToString(mac.Sum(nil))[:4]
}

// wantSRS gives the forms that the SRS sender may have: the clock may pass midnight between two calls.
func wantSRS(address string) (forms []string) {
	for _, day := range []time.Time{time.Now(), time.Now().Add(-24 * time.Hour)} {
		if rest, found := strings.CutPrefix(address, "SRS0"); found {
			rest, host, _ := strings.Cut(rest, "@")
			hash := srsHash(fmt.Sprintf("=SRS1=%d=%s=%s", day.Unix()/86400, host, rest))
			forms = append(forms, fmt.Sprintf("SRS1=%s=%s=%s@%s", hash, host, rest, srsDomain))
		} else {
			forms = append(forms, srsAddress(address, day))
		}
	}
	return forms
}

// bodies are the mixed kinds. Line ends are LF.
func bodies(random *rand.Rand) map[string]string {
	letters := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte('a' + random.IntN(26))
		}
		return string(b)
	}
	var attachment strings.Builder
	for range 30000 {
		attachment.WriteString(base64.StdEncoding.EncodeToString([]byte(letters(54))) + "\n")
	}
	return map[string]string{
		"plain":          "Hello,\n\nthis is " + letters(20) + ".\n",
		"empty":          "",
		"one empty line": "\n",
		"dots":           ".\n..\n...\n.x\nx.\n.\n",
		"8-bit":          "Grüße aus München, \xe9\xff " + letters(30) + "\n",
		"blanks": "trailing  \t \n\t leading\n \n\n\t\n" + letters(5) + "  " +
			letters(5) + "\n\n\n\n",
		"long line":         letters(5000) + "\nshort\n",
		"1 MB line":         letters(1<<20) + "\n",
		"From line":         "From here on\n>From there\n",
		"larger than spool": attachment.String(),
		"looks like header": "Subject: not a header\nDKIM-Signature: v=1\n\ntext\n",
		"multipart": "--b\nContent-Type: text/plain\n\ntext\n--b\n" +
			"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n<p>ü</p>\n--b--\n",
	}
}

func TestEveryMessageComesOutOnceAndWhole(t *testing.T) {
	t.Parallel()
	f := start(t)
	expected := map[string]*expectation{}
	random := rand.New(rand.NewPCG(1, 2))
	var wantLocal, wantRemote int
	const messages = 200
	for n := 0; n < messages; {
		for kind, body := range bodies(random) {
			if n == messages {
				break
			}
			r := routes()[n%len(routes())]
			if kind == "larger than spool" && n >= 2*len(routes()) {
				body = "no more of the large ones\n"
			}
			token := fmt.Sprintf("%d-%s", n, strings.ReplaceAll(kind, " ", "-"))
			header := fmt.Sprintf("From: %s\nTo: somebody@example.org\nSubject: %s =?utf-8?q?=C3=BC?=\n "+
				"folded\tover\n  lines\nDate: Mon, 2 Nov 2026 10:00:00 +0000\n"+
				"Message-ID: <%s@sender.example>\nX-Token: %s\n",
				r.author, kind, token, token)
			mta.Submit(t, f.smtp,
				mta.Mail{From: r.from, To: r.to, XClient: r.xclient, Content: []byte(header + "\n" + body)})
			expected[token] = &expectation{r, header, body, map[string]int{}}
			for _, to := range r.want {
				if strings.HasSuffix(to, "@example.org") {
					wantLocal++
				} else {
					wantRemote++
				}
			}
			n++
		}
	}

	f.local.Wait(wantLocal)
	f.remote.Wait(wantRemote)
	f.waitEmptyQueue()
	local, remote := f.local.Messages(), f.remote.Messages()
	if len(local) != wantLocal || len(remote) != wantRemote {
		t.Errorf("%d local and %d remote messages arrived, want %d and %d", len(local), len(remote),
			wantLocal, wantRemote)
	}
	token := regexp.MustCompile(`(?m)^X-Token: (\S+)\r$`)
	for _, got := range append(append([]mta.Received{}, local...), remote...) {
		found := token.FindSubmatch(got.Content)
		if found == nil || len(got.To) != 1 {
			t.Errorf("a message without token, or with several recipients %q", got.To)
			continue
		}
		e := expected[string(found[1])]
		name := fmt.Sprintf("%s (%s)", e.route.name, found[1])
		e.arrived[got.To[0]]++
		e.check(t, name, got)
	}
	for name, e := range expected {
		for _, to := range e.route.want {
			if e.arrived[to] != 1 {
				t.Errorf("%s (%s): arrived %d times at %s", e.route.name, name, e.arrived[to], to)
			}
		}
	}
	f.judge(remote)
}

// expectation is a message that was sent, and where it arrived, how often.
type expectation struct {
	route   route
	header  string
	body    string
	arrived map[string]int
}

// check compares what arrived with what was sent.
func (e *expectation) check(t *testing.T, name string, got mta.Received) {
	t.Helper()
	isLocal := strings.HasSuffix(got.To[0], "@example.org")

	wantTail := strings.ReplaceAll(e.header+"\n"+e.body, "\n", "\r\n")
	if e.route.signed && e.route.xclient == "" {
		// folded before our own signature, the only one
		wantTail = string(asTransported([]byte(wantTail)))
	}
	if !bytes.HasSuffix(got.Content, []byte(wantTail)) {
		t.Errorf("%s: header or body was changed", name)
	}
	added := string(bytes.TrimSuffix(got.Content, []byte(wantTail)))
	if isLocal {
		if got.From != e.route.from || strings.Contains(added, "DKIM-Signature") ||
			strings.Contains(added, "X-Forwarded") {
			t.Errorf("%s: mail for a local mailbox was touched: sender %q, added %q", name,
				got.From, added)
		}
		return
	}
	wantSender := []string{e.route.sender}
	if e.route.sender == "srs" {
		wantSender = wantSRS(e.route.from)
	}
	if !slices.Contains(wantSender, got.From) {
		t.Errorf("%s: sender %q, want one of %q", name, got.From, wantSender)
	}
	signatures := strings.Count(added, "DKIM-Signature:")
	if want := map[bool]int{true: 2, false: 0}[e.route.signed]; signatures != want {
		t.Errorf("%s: %d signatures, want %d", name, signatures, want)
	}
}

// judge asks verifiers that nobody here wrote about every signature in the messages.
func (f *forwarder) judge(messages []mta.Received) {
	f.t.Helper()
	var signed [][]byte
	for _, m := range messages {
		if bytes.HasPrefix(m.Content, []byte("Received:")) &&
			bytes.Contains(m.Content, []byte("\r\nDKIM-Signature: v=1; a=")) {
			signed = append(signed, m.Content)
		}
	}
	bench := judge.New(f.t, f.records(), signed)
	for name, verdicts := range map[string]judge.Verdicts{"dkimpy": bench.DKIMPy(),
		"Mail::DKIM": bench.MailDKIM(), "OpenDKIM": bench.OpenDKIM()} {
		passed := 0
		for n, verdict := range verdicts {
			if len(verdict) == 0 || slices.Contains(verdict, "fail") {
				f.t.Errorf("%s on a message of %d octets: %q\n%.600s", name, len(signed[n]),
					verdict, signed[n])
			}
			if slices.Contains(verdict, "pass") {
				passed++
			}
		}
		if passed == 0 || passed != len(signed) {
			f.t.Errorf("%s verified %d of %d messages", name, passed, len(signed))
		}
	}
}

// records are the public keys, as they would be published.
func (f *forwarder) records() map[string]string {
	f.t.Helper()
	records := map[string]string{}
	for _, selector := range []string{"rsa", "ed"} {
		key, err := dkim.LoadKey("example.org", selector,
			filepath.Join(filepath.Dir(f.config), selector+".pem"))
		f.check(err)
		records[key.RecordName()], err = key.Record()
		f.check(err)
	}
	return records
}
