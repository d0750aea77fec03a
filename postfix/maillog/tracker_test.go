package maillog

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// outcomesOf gives what a tracker makes of a log, one line for each recipient. Lines without a stamp get one.
func outcomesOf(t testing.TB, log string) (list []string, stats Stats) {
	t.Helper()
	tracker := NewTracker(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), time.UTC)
	tracker.Outcome = func(o *Outcome) { list = append(list, tell(o)) }
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "post") {
			line = "Nov 25 00:48:17 mx " + line
		}
		tracker.Line([]byte(line))
	}
	tracker.Close()
	slices.Sort(list)
	return list, tracker.Stats
}

func tell(o *Outcome) string {
	status := []string{"pending", "delivered", "deferred", "refused", "discarded"}[o.Status]
	line := fmt.Sprintf("%s %s: <%s> to <%s>", o.Kind, status, o.Sender, o.Recipient)
	if o.Alias != "" {
		line += " by <" + o.Alias + ">"
	}
	if o.Deferrals > 0 {
		line += fmt.Sprintf(" after %d", o.Deferrals)
	}
	if o.Expired {
		line += " expired"
	}
	return line
}

// The lines are Postfix's, from the sources and from real logs; names are changed.
// followed are logs, and what became of whom.
var followed = []struct {
	name, log string
	want      []string
}{
	{"delivered to a mailbox", `
			postfix/smtpd[1]: 4F1A2B3C4D: client=mail.sender.example[192.0.2.1]
			postfix/cleanup[2]: 4F1A2B3C4D: message-id=<1@sender.example>
			postfix/qmgr[3]: 4F1A2B3C4D: from=<alice@sender.example>, size=512, nrcpt=1 (queue active)
			postfix/local[4]: 4F1A2B3C4D: to=<box@example.org>, relay=local, delay=0.1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (delivered to mailbox)
			postfix/qmgr[3]: 4F1A2B3C4D: removed`,
		[]string{"local delivered: <alice@sender.example> to <box@example.org>"}},
	{"long ids, another syslog_name, TLS noted, forwarded by an alias", `
			postfix-in/submission/smtpd[1]: 4bXk2w1zQyz9vG: client=mail.sender.example[192.0.2.1]
			postfix-in/qmgr[3]: 4bXk2w1zQyz9vG: from=<alice@sender.example>, size=512, nrcpt=1 (queue active)
			postfix-in/relay/smtp[4]: 4bXk2w1zQyz9vG: to=<bob@gmail.example>, orig_to=<info@example.org>, relay=mx.gmail.example[192.0.2.9]:25, conn_use=2, delay=0.1, delays=0.1/0/0/0, tls=TLSv1.3, dsn=5.7.26, status=bounced (host mx.gmail.example[192.0.2.9] said: 550 5.7.26 no (in reply to end of DATA command))
			postfix-in/bounce[5]: 4bXk2w1zQyz9vG: sender non-delivery notification: 4bXk2x0yQzz9vH
			postfix-in/qmgr[3]: 4bXk2w1zQyz9vG: removed
			postfix-in/qmgr[3]: 4bXk2x0yQzz9vH: from=<>, size=512, nrcpt=1 (queue active)
			postfix-in/smtp[4]: 4bXk2x0yQzz9vH: to=<alice@sender.example>, relay=none, delay=0.1, delays=0.1/0/0/0, dsn=5.4.4, status=bounced (Host not found)
			postfix-in/qmgr[3]: 4bXk2x0yQzz9vH: removed`,
		[]string{"forwarded refused: <alice@sender.example> to <bob@gmail.example> by <info@example.org>"}},
	{"PostSRSd: the sender is an SRS address before the queue manager sees it", `
			postfix/smtpd[1]: 4F1A2B3C4D: client=mail.sender.example[192.0.2.1]
			postfix/qmgr[3]: 4F1A2B3C4D: from=<SRS0=vmyz=2W=sender.example=alice@fwd.example.org>, size=512, nrcpt=1 (queue active)
			postfix/smtp[4]: 4F1A2B3C4D: to=<bob@gmail.example>, relay=mx.gmail.example[192.0.2.9]:25, delay=0.1, delays=0.1/0/0/0, dsn=5.7.26, status=bounced (host mx.gmail.example[192.0.2.9] said: 550 5.7.26 no)
			postfix/qmgr[3]: 4F1A2B3C4D: removed`,
		[]string{"forwarded refused: <alice@sender.example> to <bob@gmail.example>"}},
	{"SRS1 of a second forwarder, and a separator other than =", `
			postfix/smtpd[1]: 4F1A2B3C4D: client=mail.sender.example[192.0.2.1]
			postfix/qmgr[3]: 4F1A2B3C4D: from=<SRS1=chaI=relay.example==vmyz=2W=sender.example=alice@fwd.example.org>, size=512, nrcpt=1 (queue active)
			postfix/smtp[4]: 4F1A2B3C4D: to=<bob@gmail.example>, relay=mx.gmail.example[192.0.2.9]:25, delay=1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (250 ok)
			postfix/smtpd[1]: 4F1A2B3C4E: client=mail.sender.example[192.0.2.1]
			postfix/qmgr[3]: 4F1A2B3C4E: from=<srs0+vmyz=2W=other.example=carol@fwd.example.org>, size=512, nrcpt=1 (queue active)
			postfix/smtp[4]: 4F1A2B3C4E: to=<bob@gmail.example>, relay=mx.gmail.example[192.0.2.9]:25, delay=1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (250 ok)`,
		[]string{"forwarded delivered: <alice@sender.example> to <bob@gmail.example>", "forwarded " +
			"delivered: <carol@other.example> to <bob@gmail.example>"}},
	{"put off twice, then delivered", `
			postfix/pickup[1]: 4F1A2B3C4D: uid=0 from=<root>
			postfix/qmgr[3]: 4F1A2B3C4D: from=<root@example.org>, size=512, nrcpt=1 (queue active)
			postfix/smtp[4]: 4F1A2B3C4D: host mx.example[192.0.2.9] said: 450 4.2.0 greylisted (in reply to RCPT TO command)
			postfix/smtp[4]: 4F1A2B3C4D: to=<bob@b.example>, relay=mx.b.example[192.0.2.9]:25, delay=1, delays=0.1/0/0/0, dsn=4.2.0, status=deferred (host said: 450 4.2.0 greylisted)
			postfix/qmgr[3]: 4F1A2B3C4D: from=<root@example.org>, size=512, nrcpt=1 (queue active)
			postfix/error[4]: 4F1A2B3C4D: to=<bob@b.example>, relay=none, delay=1, delays=0.1/0/0/0, dsn=4.4.1, status=deferred (delivery temporarily suspended: connect to mx.b.example[192.0.2.9]:25: Connection timed out)
			postfix/smtp[4]: 4F1A2B3C4D: to=<bob@b.example>, relay=mx.b.example[192.0.2.9]:25, delay=1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 77)
			postfix/qmgr[3]: 4F1A2B3C4D: removed`,
		[]string{"outgoing delivered: <root@example.org> to <bob@b.example> after 2"}},
	{"given up after days", `
			postfix/smtpd[1]: 4F1A2B3C4D: client=mail.sender.example[192.0.2.1]
			postfix/qmgr[3]: 4F1A2B3C4D: from=<alice@sender.example>, size=512, nrcpt=2 (queue active)
			postfix/smtp[4]: 4F1A2B3C4D: to=<carol@c.example>, orig_to=<info@example.org>, relay=mx.c.example[192.0.2.9]:25, delay=1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (250 ok)
			postfix/smtp[4]: 4F1A2B3C4D: to=<bob@b.example>, orig_to=<info@example.org>, relay=none, delay=1, delays=0.1/0/0/0, dsn=4.4.1, status=deferred (connect to mx.b.example[192.0.2.9]:25: Connection timed out)
			postfix/qmgr[3]: 4F1A2B3C4D: from=<alice@sender.example>, status=expired, returned to sender
			postfix/bounce[5]: 4F1A2B3C4D: sender non-delivery notification: 4F1A2B3C4E
			postfix/qmgr[3]: 4F1A2B3C4D: removed`,
		[]string{"forwarded delivered: <alice@sender.example> to <carol@c.example> by <info@example.org>",
			"forwarded refused: <alice@sender.example> to <bob@b.example> by <info@example.org> after " +
				"1 expired"}},
	{"another filter, which speaks SMTP on loopback", `
			postfix/smtpd[1]: 4F1A2B3C4D: client=mail.sender.example[192.0.2.1]
			postfix/qmgr[3]: 4F1A2B3C4D: from=<alice@sender.example>, size=512, nrcpt=1 (queue active)
			postfix/smtpd[1]: 4F1A2B3C4E: client=localhost[127.0.0.1]
			postfix/qmgr[3]: 4F1A2B3C4E: from=<alice@sender.example>, size=812, nrcpt=1 (queue active)
			postfix/smtp[4]: 4F1A2B3C4D: to=<bob@b.example>, orig_to=<info@example.org>, relay=127.0.0.1[127.0.0.1]:10024, delay=1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4F1A2B3C4E)
			postfix/qmgr[3]: 4F1A2B3C4D: removed
			postfix/smtp[4]: 4F1A2B3C4E: to=<bob@b.example>, relay=mx.b.example[192.0.2.9]:25, delay=1, delays=0.1/0/0/0, dsn=5.1.1, status=bounced (host said: 550 5.1.1 no)
			postfix/qmgr[3]: 4F1A2B3C4E: removed`,
		[]string{"forwarded refused: <alice@sender.example> to <bob@b.example> by <info@example.org>"}},
	{"postmend without XFORWARD, whose second message is gone before pipe(8) logs the first", `
			postfix/smtpd[1]: 4F1A2B3C4D: client=mail.sender.example[192.0.2.1]
			postfix/qmgr[3]: 4F1A2B3C4D: from=<alice@sender.example>, size=512, nrcpt=1 (queue active)
			postfix/reinject/smtpd[1]: 4F1A2B3C4E: client=localhost[127.0.0.1]
			postfix/qmgr[3]: 4F1A2B3C4E: from=<SRS0=vmyz=2W=sender.example=alice@srs.example.org>, size=812, nrcpt=1 (queue active)
			postfix/smtp[4]: 4F1A2B3C4E: to=<bob@b.example>, relay=mx.b.example[192.0.2.9]:25, delay=1, delays=0.1/0/0/0, dsn=5.1.1, status=bounced (host said: 550 5.1.1 no)
			postfix/qmgr[3]: 4F1A2B3C4E: removed
			postfix/pipe[4]: 4F1A2B3C4D: to=<bob@b.example>, orig_to=<info@example.org>, relay=postmend, delay=1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (delivered via postmend service (2.0.0 queued as 4F1A2B3C4E))
			postfix/qmgr[3]: 4F1A2B3C4D: removed`,
		[]string{"forwarded refused: <alice@sender.example> to <bob@b.example> by <info@example.org>"}},
	{"a .forward file", `
			postfix/smtpd[1]: 4F1A2B3C4D: client=mail.sender.example[192.0.2.1]
			postfix/qmgr[3]: 4F1A2B3C4D: from=<alice@sender.example>, size=512, nrcpt=1 (queue active)
			postfix/cleanup[2]: 4F1A2B3C4E: message-id=<1@sender.example>
			postfix/qmgr[3]: 4F1A2B3C4E: from=<alice@sender.example>, size=612, nrcpt=1 (queue active)
			postfix/local[4]: 4F1A2B3C4D: to=<box@example.org>, relay=local, delay=0.1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (forwarded as 4F1A2B3C4E)
			postfix/qmgr[3]: 4F1A2B3C4D: removed
			postfix/smtp[4]: 4F1A2B3C4E: to=<bob@b.example>, orig_to=<box@example.org>, relay=mx.b.example[192.0.2.9]:25, delay=1, delays=0.1/0/0/0, dsn=5.1.1, status=bounced (host said: 550 5.1.1 no)
			postfix/qmgr[3]: 4F1A2B3C4E: removed`,
		[]string{"forwarded refused: <alice@sender.example> to <bob@b.example> by <box@example.org>"}},
	{"a Sieve redirect: a local program submits it with a stranger's sender", `
			postfix/pickup[1]: 4F1A2B3C4D: uid=5000 from=<alice@sender.example>
			postfix/qmgr[3]: 4F1A2B3C4D: from=<alice@sender.example>, size=512, nrcpt=1 (queue active)
			postmend[9]: 4F1A2B3C4D: classes=outgoing:1 from=<alice@sender.example> sender=<SRS0=vmyz=2W=sender.example=alice@srs.example.org> result=queued queued_as=4F1A2B3C4E time=0.006s why=sender-rewritten
			postfix/reinject/smtpd[1]: 4F1A2B3C4E: client=localhost[127.0.0.1], orig_queue_id=4F1A2B3C4D
			postfix/qmgr[3]: 4F1A2B3C4E: from=<SRS0=vmyz=2W=sender.example=alice@srs.example.org>, size=812, nrcpt=1 (queue active)
			postfix/pipe[4]: 4F1A2B3C4D: to=<bob@b.example>, relay=postmend, delay=1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (delivered via postmend service (2.0.0 queued as 4F1A2B3C4E))
			postfix/qmgr[3]: 4F1A2B3C4D: removed
			postfix/smtp[4]: 4F1A2B3C4E: to=<bob@b.example>, relay=mx.b.example[192.0.2.9]:25, delay=1, delays=0.1/0/0/0, dsn=5.7.1, status=bounced (host said: 550 5.7.1 no)
			postfix/qmgr[3]: 4F1A2B3C4E: removed`,
		[]string{"forwarded refused: <alice@sender.example> to <bob@b.example>"}},
	{"an address that looks like the rest of a line", `
			postfix/smtpd[1]: 4F1A2B3C4D: client=mail.sender.example[192.0.2.1]
			postfix/qmgr[3]: 4F1A2B3C4D: from=<"x>, size=1 \"y"@sender.example>, size=512, nrcpt=1 (queue active)
			postfix/smtp[4]: 4F1A2B3C4D: to=<bob@b.example>, orig_to=<"a>, relay=x, dsn=2.0.0, status=sent (\"q"@example.org>, relay=mx.b.example[192.0.2.9]:25, delay=1, delays=0.1/0/0/0, dsn=5.1.1, status=bounced (no status=sent (really))
			postfix/qmgr[3]: 4F1A2B3C4D: removed`,
		[]string{
			`forwarded refused: <"x>, size=1 \"y"@sender.example> to <bob@b.example> by <"a>, relay=x, dsn=2.0.0, status=sent (\"q"@example.org>`}},
	{"ids are used again, and a probe of an address is no mail", `
			postfix/smtpd[1]: 4F1A2B3C4D: client=mail.sender.example[192.0.2.1]
			postfix/qmgr[3]: 4F1A2B3C4D: from=<alice@sender.example>, size=512, nrcpt=1 (queue active)
			postfix/virtual[4]: 4F1A2B3C4D: to=<box@example.org>, relay=virtual, delay=1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (delivered to maildir)
			postfix/qmgr[3]: 4F1A2B3C4D: removed
			postfix/smtpd[1]: 4F1A2B3C4D: client=mail.other.example[192.0.2.1]
			postfix/qmgr[3]: 4F1A2B3C4D: from=<carol@other.example>, size=512, nrcpt=1 (queue active)
			postfix/lmtp[4]: 4F1A2B3C4D: to=<box@example.org>, relay=dovecot[private/lmtp], delay=1, delays=0.1/0/0/0, dsn=5.2.2, status=bounced (host dovecot[private/lmtp] said: 552 5.2.2 full)
			postfix/qmgr[3]: 4F1A2B3C4D: removed
			postfix/qmgr[3]: 4F1A2B3C99: from=<double-bounce@mx.example.org>, size=300, nrcpt=1 (queue active)
			postfix/smtp[4]: 4F1A2B3C99: to=<bob@b.example>, relay=mx.b.example[192.0.2.9]:25, delay=1, delays=0.1/0/0/0, dsn=5.1.1, status=undeliverable (no such user)
			postfix/qmgr[3]: 4F1A2B3C99: removed`,
		[]string{"local delivered: <alice@sender.example> to <box@example.org>", "local refused: " +
			"<carol@other.example> to <box@example.org>"}},
	{"thrown away by postmend, as configured", `
			postfix/smtpd[1]: 4F1A2B3C4D: client=mail.sender.example[192.0.2.1]
			postfix/qmgr[3]: 4F1A2B3C4D: from=<alice@sender.example>, size=512, nrcpt=1 (queue active)
			postfix/pipe[4]: 4F1A2B3C4D: to=<bob@b.example>, orig_to=<info@example.org>, relay=postmend, delay=1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (delivered via postmend service (2.0.0 discarded))
			postfix/qmgr[3]: 4F1A2B3C4D: removed`,
		[]string{"forwarded discarded: <alice@sender.example> to <bob@b.example> by <info@example.org>"}},
	{"turned away before it was queued", `
			postfix/smtpd[1]: NOQUEUE: reject: RCPT from x[192.0.2.1]: 554 5.7.1 <x@y.example>: Relay access denied; from=<a@b.example> to=<x@y.example> proto=ESMTP helo=<x>
			postfix/smtpd[1]: 4F1A2B3C4D: client=mail.sender.example[192.0.2.1]
			postfix/smtpd[1]: 4F1A2B3C4D: reject: RCPT from x[192.0.2.1]: 550 5.1.1 <y@example.org>: Recipient address rejected
			postfix/smtpd[1]: lost connection after RCPT from x[192.0.2.1]`,
		nil},
}

func TestMessagesAreFollowedToTheirEnd(t *testing.T) {
	for _, c := range followed {
		if got, stats := outcomesOf(t, c.log); !slices.Equal(got, c.want) || stats.Lost != 0 {
			t.Errorf("%s:\n%s\nwant\n%s\n%+v", c.name, strings.Join(got, "\n"),
				strings.Join(c.want, "\n"), stats)
		}
	}
}

func TestALogIsReadTheSameWhateverPiecesItComesIn(t *testing.T) {
	log := realLog(t)
	want, _ := outcomesOf(t, string(log))
	if len(want) < 20 {
		t.Fatalf("only %d outcomes", len(want))
	}
	for _, log := range []string{string(log), strings.ReplaceAll(string(log), "\n", "\r\n"),
		strings.TrimSuffix(string(log), "\n"), strings.Repeat("x", 3*bufferSize) + "\n" + string(log),
		string(log) + strings.Repeat("x", 3*bufferSize)} {
		tracker := NewTracker(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), time.UTC)
		var got []string
		tracker.Outcome = func(o *Outcome) { got = append(got, tell(o)) }
		if err := tracker.Read(iotest.HalfReader(strings.NewReader(log))); err != nil {
			t.Error(err)
		}
		tracker.Close()
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("a log of %d octets: %q, want %q", len(log), got, want)
		}
	}
}

// realLog is what the tests' own Postfix 3.7 logged of forwards, refusals of many kinds, deferrals,
// bounces and local mail.
func realLog(t testing.TB) []byte {
	t.Helper()
	log, err := os.ReadFile("testdata/forwarder.log")
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// A hostile or broken log: messages without an end, each with a refusal, of ever new senders.
func TestMemoryStaysFlatWhenMessagesHaveNoEnd(t *testing.T) {
	tracker := NewTracker(time.Now(), time.UTC)
	counted := 0
	tracker.Outcome = func(*Outcome) { counted++ }
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const messages = 300_000
	reason := strings.Repeat("x", 2000)
	for n := range messages {
		tracker.Line(fmt.Appendf(nil, "Nov 25 00:48:17 mx postfix/smtpd[1]: %X: client=x[192.0.2.1]",
			0xA000000+n))
		tracker.Line(fmt.Appendf(nil, "Nov 25 00:48:17 mx postfix/qmgr[1]: %X: from=<a@%d.example>, "+
			"size=1, nrcpt=1 (queue active)", 0xA000000+n, n))
		tracker.Line(fmt.Appendf(nil, "Nov 25 00:48:17 mx postfix/smtp[1]: %X: to=<b@%d.example>, "+
			"relay=r%[2]d[1.2.3.4]:25, delay=1, delays=0/0/0/0, dsn=4.0.0, status=deferred (%s)",
			0xA000000+n, n, reason))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 48<<20 {
		t.Errorf("%d MB are kept", used>>20)
	}
	kept := len(tracker.known)
	tracker.Close()
	if counted != messages || tracker.Stats.Evicted != int64(messages-kept) {
		t.Errorf("%d of %d were counted, %d before their end, of %d", counted, messages,
			tracker.Stats.Evicted, messages-kept)
	}
}

// FuzzTracker: whatever is in a log, nothing is kept at its end, and no more recipients are counted than
// attempts were logged.
func FuzzTracker(f *testing.F) {
	lines := strings.SplitAfter(string(realLog(f)), "\n")
	for n := 0; n+40 < len(lines); n += 40 {
		f.Add(strings.Join(lines[n:n+40], ""))
	}
	f.Add("Nov 25 00:48:17 mx postfix/smtpd[1]: AAAAAA: client=x[1], orig_queue_id=BBBBBB\n" +
		"Nov 25 00:48:17 mx postfix/smtpd[1]: BBBBBB: client=x[1], orig_queue_id=AAAAAA\n")
	f.Fuzz(func(t *testing.T, log string) {
		tracker := NewTracker(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), time.UTC)
		counted := 0
		tracker.Outcome = func(o *Outcome) {
			if o.Status == Pending || o.Status == Probed {
				t.Errorf("outcome %+v", o)
			}
			counted++
		}
		tracker.Refusal = func(*Outcome) {}
		if err := tracker.Read(strings.NewReader(log)); err != nil {
			t.Error(err)
		}
		tracker.Close()
		if len(tracker.known) != 0 || tracker.oldest != nil || tracker.cost != 0 {
			t.Errorf("%d messages are left, at a cost of %d", len(tracker.known), tracker.cost)
		}
		if most := strings.Count(log, ": to=<"); counted > most {
			t.Errorf("%d recipients are counted, of %d attempts", counted, most)
		}
	})
}

func TestALogThatGrowsOverNewYearKeepsItsYears(t *testing.T) {
	tracker := NewTracker(time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), time.UTC)
	tracker.Outcome = func(*Outcome) {}
	for _, day := range []time.Time{time.Date(2026, 11, 26, 1, 0, 0, 0, time.UTC),
		time.Date(2026, 12, 31, 1, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 1, 0, 0, 0, time.UTC)} {
		tracker.Until(day)
		tracker.Line([]byte(day.Format(time.Stamp) + " mx postfix/qmgr[3]: 4F1A2B3C4D: from=<a@b.example>, " +
			"size=512, nrcpt=1 (queue active)"))
		if tracker.Stats.Last != day.Unix() {
			t.Errorf("%v is taken for %v", day, time.Unix(tracker.Stats.Last, 0).UTC())
		}
	}
}

func TestARefusalIsToldOnceWhenItsAliasIsKnown(t *testing.T) {
	tracker := NewTracker(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), time.UTC)
	tracker.Outcome = func(*Outcome) {}
	var told []string
	tracker.Refusal = func(o *Outcome) { told = append(told, tell(o)) }
	for _, step := range []struct {
		line string
		told int
	}{
		{"smtpd[1]: 4F1A2B3C4D: client=mail.sender.example[192.0.2.1]", 0},
		{"qmgr[3]: 4F1A2B3C4D: from=<alice@sender.example>, size=512, nrcpt=2 (queue active)", 0},
		{"smtpd[1]: 4F1A2B3C4E: client=mail.sender.example[192.0.2.1], orig_queue_id=4F1A2B3C4D, " +
			"orig_client=mail.sender.example[192.0.2.1]", 0},
		{"qmgr[3]: 4F1A2B3C4E: from=<alice@sender.example>, size=812, nrcpt=2 (queue active)", 0},
		{"smtp[4]: 4F1A2B3C4E: to=<bob@b.example>, relay=mx.b.example[192.0.2.9]:25, delay=1, " +
			"delays=0.1/0/0/0, dsn=5.1.1, status=bounced (host said: 550 no)", 0},
		{"pipe[5]: 4F1A2B3C4D: to=<bob@b.example>, orig_to=<info@example.org>, relay=postmend, delay=1, " +
			"delays=0.1/0/0/0, dsn=2.0.0, status=sent (delivered via postmend service (2.0.0 queued as " +
			"4F1A2B3C4E))", 1},
		{"pipe[5]: 4F1A2B3C4D: to=<carol@c.example>, orig_to=<sales@example.org>, relay=postmend, delay=1, " +
			"delays=0.1/0/0/0, dsn=2.0.0, status=sent (delivered via postmend service (2.0.0 queued as " +
			"4F1A2B3C4E))", 1},
		{"smtp[4]: 4F1A2B3C4E: to=<carol@c.example>, relay=mx.c.example[192.0.2.9]:25, delay=1, " +
			"delays=0.1/0/0/0, dsn=5.1.1, status=bounced (host said: 550 no)", 2},
		{"qmgr[3]: 4F1A2B3C4E: removed", 2},
	} {
		tracker.Line([]byte("Nov 25 00:48:17 mx postfix/" + step.line))
		if len(told) != step.told {
			t.Fatalf("after %q: %q", step.line, told)
		}
	}
	for n, want := range []string{"to <bob@b.example> by <info@example.org>",
		"to <carol@c.example> by <sales@example.org>"} {
		if !strings.HasSuffix(told[n], want) {
			t.Errorf("told %q, want %q", told[n], want)
		}
	}
}
