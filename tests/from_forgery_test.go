package tests

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"postmend/tests/judge"
	"postmend/tests/mta"
)

// hiddenAuthors are From: fields, and what stands beside them, from which some reader takes
// boss@example.org for the author, though their sender is attacker.example. tests/testdata/from has more.
var hiddenAuthors = []string{
	"From: <\"boss@example.org>\"@attacker.example>\r\n",
	"From: Mallory (hi (there) <boss@example.org> ) <a@attacker.example>\r\n",
	"From: a@attacker.example (x)(y (z) <boss@example.org>)\r\n",
	"From: x: a@attacker.example; (boss@example.org)\r\n",
	"From: <\"boss@example.org\r\n x\"@attacker.example>\r\n",
	"From: \"boss@example.org\r\n x\" <a@attacker.example>\r\n",
	"From: Boss boss@example.org\u2026\r\n",
	"From: Boss boss@example.org\u3000\r\n",
	"From: Boss boss@example.org\u2003\r\n",
	"From: a@attacker.example, boss@example.org\u2026\r\n",
	"X-A: b\rFrom: boss@example.org\r\nFrom: a@attacker.example\r\n",
	"From: a@attacker.example\r\nX-A: b\r\rFrom: boss@example.org\r\n",
	"From : boss@example.org\r\n",
	"Subject: y\r\nFrom \t: boss@example.org\r\n",
	" From: boss@example.org\r\nFrom: a@attacker.example\r\n",
	"From: a@attacker.example\r\nno colon\r\nFrom: boss@example.org\r\n",
	"From: a@attacker.example\r\nFrom\x00: boss@example.org\r\n",
	"From: boss@example.org\x00.attacker.example\r\n",
	"From: boss@example.org <a@attacker.example>\r\n",
	"From: <@example.org:a@attacker.example>\r\n",
	"From: boss@exam\u00adple.org\r\n",
	"From: boss@exam\xe9ple.org\r\n",
	"From: boss@example.o(x (y) rg\r\n",
	"From: boss@example.o<x>rg, a@attacker.example\r\n",
}

// TestNobodysVerifierPassesAForgeryThatCameThroughUs: each forgery comes by SMTP, and once more straight to
// the filter, since Postfix itself takes the edge off some.
func TestNobodysVerifierPassesAForgeryThatCameThroughUs(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"reject", "none"} {
		t.Run("p="+policy, func(t *testing.T) {
			t.Parallel()
			w := &world{forwarder: start(t), name: policy, srsDomain: srsDomain, policy: policy}
			w.write()
			w.letters = nil
			for _, fields := range hiddenAuthors {
				w.forge(fields)
			}
			// These show that the judges can see a pass, of ours and of somebody else.
			w.addControl("Boss <boss@example.org>", "boss@example.org", "127.0.0.1", "")
			w.addControl("\"boss@example.org\" <alice@reject.example>", "alice@reject.example", "192.0.2.1",
				"reject.example rsa relaxed")
			w.sendAll()
			w.judgeForgeries()
		})
	}
}

func (w *world) forge(fields string) {
	n := len(w.letters)
	w.letters = append(w.letters,
		&letter{name: strconv.Quote(fields), forged: true, from: "x@attacker.example",
			to: []string{"alias@example.org"}, address: attacker, helo: "mail.attacker.example",
			content: fmt.Appendf(nil, "%sTo: alias@example.org\r\nX-Token: %d\r\n\r\nHello.\r\n", fields, n)})
}

func (w *world) addControl(author, sender, address, step string) {
	w.t.Helper()
	n := len(w.letters)
	l := &letter{name: author, from: sender, domain: sender[strings.IndexByte(sender, '@')+1:],
		to: []string{"remote@example.com"}, address: address, helo: "mail.reject.example",
		content: fmt.Appendf(nil, "From: %s\r\nTo: remote@example.com\r\nSubject: hello\r\n"+
			"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%d@x.example>\r\nX-Token: %d\r\n\r\n"+
			"Hello.\r\n", author, n, n)}
	if step != "" {
		l.to = []string{"alias@example.org"}
		l.content = w.step(step, l.content)
	}
	w.letters = append(w.letters, l)
}

// sendAll waits until the forwarder is done with all letters.
func (w *world) sendAll() {
	w.t.Helper()
	var ids []string
	for n, l := range w.letters {
		id, err := l.submit(w.smtp)
		w.check(err)
		ids = append(ids, id)
		if !l.forged {
			continue
		}
		cmd := exec.Command(w.program, "filter", "-c", w.config, "-f", l.from,
			fmt.Sprintf("--queue-id=ABC%d", n), "--client-address="+l.address,
			"--client-name=unknown", "--client-protocol=ESMTP", "--helo="+l.helo,
			"--original-recipient=alias@example.org", "--", "remote@example.com")
		cmd.Stdin = bytes.NewReader(bytes.ReplaceAll(l.content, []byte("\r\n"), []byte("\n")))
		if out, err := cmd.CombinedOutput(); err != nil && !bytes.HasPrefix(out, []byte("5.7.1 ")) {
			w.t.Errorf("%s, straight to the filter: %v: %s", l.name, err, out)
		}
	}
	for _, id := range ids {
		w.WaitLog(0, id+": removed")
	}
	w.waitEmptyQueue()
}

// judgeForgeries asks all judges about all that came.
func (w *world) judgeForgeries() {
	w.t.Helper()
	var arrivals []judge.Arrival
	var of []*letter
	for _, got := range w.remote.Messages() {
		found := token.FindSubmatch(got.Content)
		if found == nil {
			w.t.Errorf("a message of nobody: %.300q", got.Content)
			continue
		}
		if isBounce(got) {
			continue
		}
		n, _ := strconv.Atoi(string(found[1]))
		of = append(of, w.letters[n])
		arrivals = append(arrivals,
			judge.Arrival{Address: ourAddress, HELO: ourHELO, Sender: got.From, Content: got.Content})
	}
	for name, domains := range judge.DMARC(w.t, w.zone.String(), arrivals) {
		for n, domain := range domains {
			isOurs := domain == "example.org" || strings.HasSuffix(domain, ".example.org")
			switch l := of[n]; {
			case l.forged && (isOurs || l.domain != "" && domain == l.domain):
				w.t.Errorf("%s passes %s for %s:\n%q", name, l.name, domain, arrivals[n].Content)
			case !l.forged && domain != l.domain:
				w.t.Errorf("%s does not pass %s, %q:\n%s", name, l.name, domain, arrivals[n].Content)
			}
		}
	}
	for _, l := range w.letters {
		if !l.forged && !slices.Contains(of, l) {
			w.t.Errorf("%s did not come", l.name)
		}
	}
	w.t.Logf("p=%s: %d letters, %d messages left", w.policy, len(w.letters), len(arrivals))
}

func isBounce(got mta.Received) bool {
	header, _, _ := bytes.Cut(got.Content, []byte("\r\n\r\n"))
	return bytes.Contains(header, []byte("Content-Type: multipart/report"))
}
