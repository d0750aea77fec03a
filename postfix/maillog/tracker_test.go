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

// followed are logs, and what became of whom, from testdata/followed.txt.
func followed(t testing.TB) (list []struct {
	name, log string
	want      []string
}) {
	t.Helper()
	text, err := os.ReadFile("testdata/followed.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, logs, _ := strings.Cut(string(text), "\n# ")
	for part := range strings.SplitSeq(logs, "\n# ") {
		name, lines, _ := strings.Cut(part, "\n")
		c := struct {
			name, log string
			want      []string
		}{name: name}
		for line := range strings.Lines(lines) {
			if outcome, ok := strings.CutPrefix(line, "= "); ok {
				c.want = append(c.want, strings.TrimSpace(outcome))
			} else {
				c.log += line
			}
		}
		list = append(list, c)
	}
	return list
}

func TestMessagesAreFollowedToTheirEnd(t *testing.T) {
	for _, c := range followed(t) {
		if got, stats := outcomesOf(t, c.log); !slices.Equal(got, c.want) || stats.Lost != 0 {
			t.Errorf("%s:\n%s\nwant\n%s\n%+v", c.name, strings.Join(got, "\n"),
				strings.Join(c.want, "\n"), stats)
		}
	}
}

func TestDeferredRecipientsOfADeletedMessageAreCountedAsDeleted(t *testing.T) {
	for _, c := range followed(t) {
		if want := int64(strings.Count(c.log, "postsuper[2]: 7C4C2C00A")); want > 0 {
			if _, stats := outcomesOf(t, c.log); stats.Deleted != want {
				t.Errorf("%s: %+v", c.name, stats)
			}
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
