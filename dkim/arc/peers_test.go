package arc

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postmend/dkim"
	"postmend/filter/authn/dnsserver"
	"postmend/tests/judge"
)

// newKey makes a key in a file.
func newKey(t testing.TB, domain, selector string) (*dkim.Key, string) {
	t.Helper()
	text, err := dkim.GenerateKey("")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := dkim.LoadKey(domain, selector, path)
	if err != nil {
		t.Fatal(err)
	}
	return key, path
}

// publish makes the zone of keys.
func publish(t testing.TB, keys ...*dkim.Key) zone {
	t.Helper()
	records := zone{}
	for _, key := range keys {
		record, err := key.Record()
		if err != nil {
			t.Fatal(err)
		}
		records[key.RecordName()] = record
	}
	return records
}

// seal adds our set to a message, over a DKIM signature of ours. The status is that of the chain when it
// arrived.
func seal(t testing.TB, message, status string, key *dkim.Key) string {
	t.Helper()
	header, body := split(message)
	chain := Read(header)
	signer, err := dkim.NewSigner(header, []*dkim.Key{key})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(hashed(body), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	header = append(signed, header...)
	set, err := chain.Seal(header, hashed(body),
		Sealing{Key: key, Results: key.Domain + "; arc=" + status, Intact: status == "pass", Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return joined(append(set, header...)) + "\r\n" + body
}

// hashed is a closed body in relaxed form.
func hashed(body string) *dkim.BodyHash {
	h := dkim.NewBodyHash(dkim.Relaxed)
	io.WriteString(h, body)
	h.Close()
	return h
}

func joined(header dkim.Header) string {
	var text strings.Builder
	for _, field := range header {
		text.Write(field)
	}
	return text.String()
}

// hop is somebody who verifies and seals.
type hop struct {
	name   string
	verify func(message string) string
	seal   func(message, status string) string
}

func threeHops(t *testing.T) []hop {
	keys, paths := make([]*dkim.Key, 3), make([]string, 3)
	for n, domain := range []string{"postmend.example", "dkimpy.example", "maildkim.example"} {
		keys[n], paths[n] = newKey(t, domain, "s")
	}
	records := publish(t, keys...)
	var lines strings.Builder
	for name, text := range records {
		fmt.Fprintf(&lines, "%s TXT %s\n", name, text)
	}
	dns, err := dnsserver.Start(lines.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	hops := []hop{{"postmend",
		func(m string) string { _, result := verify(t, m, records); return string(result.Status) },
		func(m, status string) string { return seal(t, m, status, keys[0]) },
	}}
	for n, s := range []*judge.Sealer{judge.DKIMPySealer(t, records), judge.MailDKIMSealer(t, dns)} {
		hops = append(hops, hop{[]string{"dkimpy", "Mail::DKIM"}[n],
			func(m string) string { return s.Verify([]byte(m)) },
			func(m, status string) string {
				return string(s.Seal([]byte(m), status, keys[n+1].Domain, "s", paths[n+1]))
			},
		})
	}
	return hops
}

const letter = "Received: from a by b; Mon, 2 Nov 2026 10:00:00 +0000\r\nFrom: Alice <a@sender.example>\r\n" +
	"To: b@example.net,\r\n\tc@example.net\r\nSubject: hello\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\n" +
	"Message-ID: <1@sender.example>\r\nMIME-Version: 1.0\r\n\r\nGood  morning. \r\n\r\n\r\nAlice\r\n\r\n"

// The ways in which a chain breaks after it was sealed: RFC 8617 section 5.2.
var breaks = []struct{ why, old, new string }{
	{"the body changed", "Good  morning", "Good evening"},
	{"a signed field changed", "Subject: ", "Subject: Re: "},
	{"the first hop's results changed", "spf=pass", "spf=fail"},
	{"a seal is missing", "ARC-Seal: i=1", "X-Seal: i=1"},
	{"the first set has another number", " i=1;", " i=7;"},
}

// Every chain of up to four hops passes for everybody, though hops change the subject before they seal; and
// a chain that broke is broken for everybody, and stays so whoever seals it.
func TestChainsOfSeveralImplementationsPassOrBreakForAll(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector does not see into other programs")
	}
	hops := threeHops(t)
	expect := func(want, how, message string) {
		t.Helper()
		var all sync.WaitGroup
		for _, h := range hops {
			all.Go(func() {
				if got := h.verify(message); got != want {
					t.Errorf("%s: %s by %s, want %s\n%s", how, got, h.name, want, message)
				}
			})
		}
		all.Wait()
	}
	expect("none", "no chain", letter)
	type chain struct{ how, message string }
	chains := []chain{{"", letter}}
	count := 0
	for length := 1; length <= 4; length++ {
		var longer []chain
		for n, c := range chains {
			for _, h := range hops {
				message, status := c.message, h.verify(c.message)
				if n%2 == 1 {
					message = strings.Replace(message, "Subject: ", "Subject: [list] ", 1)
				}
				l := chain{strings.TrimSpace(c.how + " " + h.name), h.seal(message, status)}
				expect("pass", l.how, l.message)
				longer = append(longer, l)
			}
		}
		chains = longer
		count += len(longer)
	}
	if count != 3+9+27+81 {
		t.Errorf("%d chains", count)
	}
	for n, c := range chains {
		b := breaks[n%len(breaks)]
		broken := strings.Replace(c.message, b.old, b.new, 1)
		if broken == c.message {
			if !strings.HasPrefix(c.how, "postmend") {
				t.Errorf("%s: nothing to change: %s", c.how, b.why)
			}
			broken = strings.Replace(c.message, "Good  morning", "Good evening", 1)
		}
		expect("fail", c.how+": "+b.why, broken)
		h := hops[n/len(breaks)%len(hops)]
		expect("fail", c.how+": "+b.why+", sealed by "+h.name, h.seal(broken, "fail"))
	}
}

// RFC 8617 section 5.1.2: the seal of a broken chain is over its own set alone.
func TestTheSealOfABrokenChainIsOverItsOwnSet(t *testing.T) {
	key, _ := newKey(t, "example.org", "s")
	records := publish(t, key)
	broken := strings.Replace(seal(t, letter, "none", key), "Good  morning", "Good evening", 1)
	sealed := seal(t, broken, "fail", key)
	header, _ := split(sealed)
	own := joined(header[:3])
	if !strings.Contains(own, "cv=fail") || !strings.Contains(own, "ARC-Seal: i=2;") {
		t.Fatal(own)
	}
	// As a chain of one set it holds, but for its number and its cv=: so the seal is over nothing else.
	seals := Read(header).sets
	s := seals[len(seals)-1]
	only := sha256.New()
	only.Write(s.results.AppendRelaxed(nil))
	only.Write(s.message.field.AppendRelaxed(nil))
	s.seal.Cover(only)
	dkim.FindKeys(t.Context(), records, []*dkim.Signature{s.seal.Signature})
	if v := s.seal.Verdict(); v.Status != dkim.Pass {
		t.Errorf("%s: %s", v.Status, v.Reason)
	}
	if chain, result := verify(t, sealed, records); result.Status != dkim.Fail || chain.Obstacle() == "" {
		t.Errorf("%+v, obstacle %q", result, chain.Obstacle())
	}
}
