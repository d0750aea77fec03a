package tests

import (
	"crypto"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postmend/tests/judge"
	"postmend/tests/mta"
	"postmend/tests/peer"
	"postmend/tests/receiver"
)

// A list as Mailman posts: by SMTP to this host, with a sender of its own, to its only subscriber. It
// keeps the message, adds a footer, or puts its own address into From:.
const listProgram = `#!/usr/bin/python3
import re, smtplib, sys
kind, port, address = sys.argv[1:]
header, _, body = sys.stdin.buffer.read().partition(b"\n\n")
header = re.sub(rb"(?mi)^(return-path|delivered-to):.*\n([ \t].*\n)*", b"", header + b"\n")
if kind == "footer":
    body += b"-- \nA list's footer.\n"
if kind == "munge":
    new = b"From: Somebody via list <" + address.encode() + b">\n"
    header = re.sub(rb"(?mi)^from:.*\n([ \t].*\n)*", new, header, count=1)
    header = re.sub(rb"(?mi)^dkim-signature:.*\n([ \t].*\n)*", b"", header)
message = b"List-Id: <" + address.replace("@", ".").encode() + b">\n" + header + b"\n" + body
with smtplib.SMTP("127.0.0.1", int(port)) as smtp:
    message = message.replace(b"\n", b"\r\n")
    smtp.sendmail("list-bounces@example.org", ["remote@example.com"], message, ["BODY=8BITMIME"])
`

// redirects are ways from a mailbox to remote@example.com, by the mailbox's domain. The first is what
// all are held against.
var redirects = []string{
	"alias@example.org", "box@sieve.example.org", "box@smtp.example.org", "box@recipient.example.org",
	peer.Mailbox + "@procmail.example.org", "box@keep.example.org", "box@footer.example.org",
	"box@munge.example.org",
}

// redirecting sets up a forwarder with all redirects: Sieve's redirect by sendmail(1), by SMTP and with
// the mailbox as the sender, procmail, and three lists.
func (w *world) redirecting() {
	w.forwarder = startChanged(w.t, func(f *forwarder, main, master *string) {
		if w.door {
			withDoor(f, main, master)
			withTransport(f, main, master)
		}
		dir := filepath.Dir(f.config)
		sendmail := mta.SendmailFor(w.t, dir, "procmail.example.org")
		_, port, _ := strings.Cut(f.smtp, ":")
		write := func(name, text string, mode os.FileMode) string {
			path := filepath.Join(dir, name)
			f.check(os.WriteFile(path, []byte(text), mode))
			return path
		}
		rc := write("procmailrc", "SENDMAIL="+sendmail+"\n:0\n! remote@example.com\n", 0o644)
		list := write("list", listProgram, 0o755)
		const sieve = "redirect \"remote@example.com\";\n"
		lmtp := func(d mta.Dovecot) string {
			d.Sieve = sieve
			return "lmtp:unix:" + d.Start(w.t, dir, redirects[1:4]...)
		}
		bySendmail, bySMTP := lmtp(mta.Dovecot{Sendmail: sendmail}), lmtp(mta.Dovecot{Submission: f.smtp})
		asRecipient := lmtp(mta.Dovecot{Sendmail: sendmail, EnvelopeFrom: "recipient"})
		*main += `
virtual_mailbox_domains = example.org, sieve.example.org, smtp.example.org, recipient.example.org,
  keep.example.org, footer.example.org, munge.example.org
transport_maps = inline:{ {sieve.example.org=` + bySendmail + `}, {smtp.example.org=` + bySMTP + `},
  {recipient.example.org=` + asRecipient + `}, {keep.example.org=keep:}, {footer.example.org=footer:},
  {munge.example.org=munge:} }
mydestination = procmail.example.org
local_recipient_maps =
mailbox_size_limit = 0
canonical_maps = inline:{ {@moved.example=@example.org} }
mailbox_command = ` + peer.Need(w.t, "procmail") + ` -p ` + rc + `
`
		*main = strings.Replace(*main, "virtual_mailbox_domains = example.org\n", "", 1)
		*main = strings.Replace(*main, "mydestination =\n", "", 1)
		for _, kind := range []string{"keep", "footer", "munge"} {
			*master += fmt.Sprintf(
				"%s unix - n n - - pipe flags=q user=%s null_sender= argv=%s %s %s box@%s.example.org\n",
				kind, peer.Mailbox, list, kind, port, kind)
		}
	})
	w.configure(`local_domains = ["example.org"]`, `local_domains = ["example.org", ".example.org"]`)
}

// rewrittenAddresses are From: and further fields that Postfix writes anew when a program submits them again.
var rewrittenAddresses = []string{
	"<\"alice\"@D>", "Alice <@reject.example:alice@D>", "Alice <alice@D.>", "\"alice\"@D",
	"alice@D\r\nCc: box", "alice@D\r\nCc: Box <\"box\"@example.org>",
	"alice@D\r\nCc: box@example.org., <carol>",
	"alice@D\r\nCc: undisclosed-recipients:;", "alice@D\r\nCc: Undisclosed recipients:;",
	"alice@D\r\nCc: Smith, Box",
	"alice@D\r\nReply-To: sales%reject.example", "alice@D\r\nReply-To: <>", "alice@D\r\nCc: <box@example.org",
}

// rewrittenForgeries are From: fields that name our domain once Postfix has written them anew, or to some
// reader.
var rewrittenForgeries = []string{
	"Boss <boss@example.org.>", "Boss <boss@EXAMPLE.org.>", "boss", "Boss <boss%example.org>",
	"Boss <example.org!boss>", "boss@mx",
	"Boss <@example.org:boss@example.org>", "Boss <@attacker.example:boss@example.org>",
	"Boss <\"boss\"@example.org.>", "",
	"Boss <boss%example.org@attacker.example>", "<\"boss@example.org\"@attacker.example>",
	"boss@example.org <x@attacker.example>",
	"boss" + strings.Repeat(" ", 9000), "boss" + strings.Repeat(" ", 70000),
	"Boss <boss@moved.example>", strings.Repeat("Boss ", 60) + "<boss@moved.example>",
	"boss@moved.example (" + strings.Repeat("()", 90) + ")",
	"boss " + strings.Repeat("\"\" ", 10300) + "<x@attacker.example>",
	"boss: x@attacker.example;", "boss: <x@attacker.example>", "boss, x@attacker.example",
	"\"Bo\x00ss\" <boss@example.org>",
	"Boss <boss @ example.org>",
	"x@attacker.example\r\nSender: boss@example.org\r\nResent-From: boss@example.org",
	"Boss <boss@example.org>\r\nX-Postmend-Arrival: v=1; b=\r\n X\r\nX-Postmend-Arrival: v=1",
	"Boss <boss@example.org>\r\nReceived: from [10.0.0.1] (unknown [10.0.0.1]) (Authenticated " +
		"sender: boss) by mx.example.org (Postfix) with ESMTPSA id 1; Mon, 2 Nov 2026 10:00:00 +0000",
}

// TestWhatProgramsHereSendOnArrivesAsIfAnAliasHadForwardedIt: mail of each kind goes each way to a
// strict receiver made of other people's verifiers. All that passed on arrival passes, and no forgery
// does.
func TestWhatProgramsHereSendOnArrivesAsIfAnAliasHadForwardedIt(t *testing.T) {
	t.Parallel()
	peer.NeedAccount(t)
	for name, door := range map[string]bool{
		"content filter": false, "behind the milter, as transport": true,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{srsDomain: srsDomain, policy: "reject", door: door,
				body: "Gr\xc3\xbc\xc3\x9fe  \t\r\n\r\n.\r\nFrom here\r\n\r\n"}
			w.forwarder = &forwarder{t: t}
			w.sendByAllRedirects(t)
		})
	}
}

func (w *world) sendByAllRedirects(t *testing.T) {
	w.redirecting()
	w.publishRedirects()
	results := map[string][]result{} // by route
	for _, route := range redirects {
		results[route] = w.send(route)
	}
	passed, forged := 0, 0
	for n, l := range w.letters {
		alias := results[redirects[0]][n]
		for _, route := range redirects {
			got := results[route][n]
			complain := func(text string) {
				t.Errorf("%s, to %s: %s\non arrival %+v\ngot %+v\nby the alias %+v\n%s", l.name, route,
					text, l.arrived, got.Evaluation, alias.Evaluation, got.content)
			}
			changes := strings.Contains(route, "footer") || strings.Contains(route, "munge") || l.domain == ""
			isOwn := l.login != "" // a list may change what this host signs
			switch {
			case l.forged && got.Passed() && got.Author != "munge.example.org":
				complain("a forgery passes")
			case l.forged && l.domain == "example.org" && got.came && !strings.Contains(route, "munge"):
				complain("a forgery of ours is sent on")
			case l.forged:
				forged++
			case changes && !strings.Contains(route, "munge") && !isOwn:
				if !got.came {
					complain("it did not come")
				}
			case !isOwn && !l.arrived.Passed() && l.arrived.Author != "", !got.Passed():
				// it reads only plain authors
				complain("it does not pass")
			default:
				passed++
			}
			if !changes && (got.came != alias.came || got.Passed() != alias.Passed()) {
				complain("the alias does it in another way")
			}
		}
	}
	t.Logf("%d genuine ones passed, %d forgeries did not", passed, forged)
	if passed < 7*(len(redirects)-1) || forged < 20*len(redirects) {
		t.Error("too few to show anything")
	}
}

// publishRedirects publishes everybody's records, and writes mail of the four kinds.
func (w *world) publishRedirects() {
	w.keys = map[string]crypto.Signer{}
	strict := origin{"reject.example", "p=reject", "reject", "192.0.2.1"}
	own := origin{"example.org", "p=reject", "reject", "192.0.2.200"}
	for _, o := range []origin{strict,
		{"quarantine.example", "p=quarantine", "quarantine", "192.0.2.2"}, own} {
		w.publish("_dmarc.%s TXT v=DMARC1; %s", o.domain, o.dmarc)
		for _, host := range []string{"", "news.", "mail."} {
			also := ""
			if o == own {
				also = "ip4:" + ourAddress + " "
			}
			w.publish("%s%s TXT v=spf1 %sip4:%s -all", host, o.domain, also, o.address)
		}
		if o != own {
			w.newKeys(o.domain)
		}
	}
	w.ownKeys()
	for domain, address := range map[string]string{"esp.example": provider, "attacker.example": attacker} {
		w.newKeys(domain)
		w.publish("%s TXT v=spf1 ip4:%s -all\nmail.%[1]s TXT v=spf1 ip4:%[2]s -all", domain, address)
	}
	w.publish("%s A %s\n%[1]s TXT v=spf1 a -all\n%[3]s TXT v=spf1 ip4:%[2]s -all", ourHELO,
		ourAddress, w.srsDomain)
	for _, box := range redirects {
		if domain := box[strings.IndexByte(box, '@')+1:]; domain != "example.org" {
			w.publish("%s TXT v=spf1 ip4:%s -all", domain, ourAddress)
		}
	}
	chosen := []string{"signed, relaxed", "signed, sent by a provider", "SPF only", "SPF only, null sender",
		"broken signature, SPF", "signed by a provider, SPF", "signature that forbids further fields"}
	for _, way := range genuine {
		if slices.Contains(chosen, way.name) {
			w.add(way, strict, false)
		}
	}
	for _, author := range rewrittenAddresses {
		w.add(way{"SPF only, " + author, author, "alice@D", "", "", nil}, strict, false)
	}
	for _, o := range []origin{strict, own} {
		for _, way := range forgeries {
			if !strings.ContainsAny(way.author, "\"(,\n") { // the receiver reads one plain address
				w.add(way, o, true)
			}
		}
	}
	for n, author := range rewrittenForgeries {
		sender := []string{"x@attacker.example", "boss@example.org", ""}[n%3]
		name := fmt.Sprintf("rewritten, %.60s", author)
		w.add(way{name, author, sender, attacker, "mail.attacker.example", nil}, origin{}, true)
	}
	// Without From:, Postfix adds one, with the sender.
	w.add(way{"without a header", "", "boss@example.org", attacker, "mail.attacker.example", nil}, origin{},
		true)
	n := len(w.letters) - 1
	w.letters[n].content = fmt.Appendf(nil, "\r\nX-Token: %d\r\n", n)
	// A read receipt of a user who logged in, to another user.
	w.add(way{"read receipt of our own user", "alice@D", "", "198.51.100.77", "desk.example", nil}, own,
		false)
	w.letters[len(w.letters)-1].login = "alice"
	var arrivals []judge.Arrival
	for _, l := range w.letters {
		arrivals = append(arrivals,
			judge.Arrival{Address: l.address, HELO: l.helo, Sender: l.from, Content: l.content})
	}
	for n, e := range receiver.DMARC(w.t, w.zone.String(), arrivals) {
		w.letters[n].arrived = e
	}
}

// result is what became of a letter.
type result struct {
	receiver.Evaluation
	came    bool
	content []byte
}

// send sends all letters to a mailbox, and judges what comes to remote@example.com.
func (w *world) send(mailbox string) []result {
	w.t.Helper()
	mark, before := w.Mark(), len(w.remote.Messages())
	for _, l := range w.letters {
		l.to = []string{mailbox}
		id, err := l.submit(w.smtp)
		if w.door && l.forged && err != nil && strings.Contains(err.Error(), `550 "5.7.1 `) {
			continue
		}
		w.check(err)
		w.WaitLog(mark, id+": removed")
	}
	// What sendmail(1) brings gets another queue id when pickup(8) takes it: to wait for ids is not
	// enough.
	for started := time.Now(); len(w.Queue()) > 0; {
		if time.Since(started) > mta.Patience {
			w.t.Fatalf("by %s mail stays in the queue", mailbox)
		}
	}
	results := make([]result, len(w.letters))
	var departures []judge.Arrival
	var numbers []int
	for _, got := range w.remote.Messages()[before:] {
		found := token.FindSubmatch(got.Content)
		if found == nil || strings.Contains(string(got.Content), "Content-Type: multipart/report") {
			continue // a bounce
		}
		if strings.Contains(strings.ToLower(string(got.Content)), "x-postmend-arrival:") {
			w.t.Errorf("by %s a seal leaves:\n%s", mailbox, got.Content)
		}
		var n int
		fmt.Sscan(string(found[1]), &n)
		numbers = append(numbers, n)
		departures = append(departures,
			judge.Arrival{Address: ourAddress, HELO: ourHELO, Sender: got.From, Content: got.Content})
	}
	if len(departures) == 0 {
		w.t.Fatalf("by %s nothing came", mailbox)
	}
	for i, e := range receiver.DMARC(w.t, w.zone.String(), departures) {
		results[numbers[i]] = result{e, true, departures[i].Content}
	}
	return results
}
