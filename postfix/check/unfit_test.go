package check

import (
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// forwardLog is what Postfix and postmend log of a message that is forwarded.
func forwardLog(at time.Time, id, why, end string) string {
	stamp := at.UTC().Format("2006-01-02T15:04:05.000000+00:00") + " mx "
	lines := []string{
		"postfix/smtpd[1]: " + id + "A: client=mail.sender.example[192.0.2.25]",
		"postfix/qmgr[2]: " + id + "A: from=<long@sender.example>, size=512, nrcpt=1 (queue active)",
		"postmend[3]: " + id + "A: classes=forwarded:1 from=<long@sender.example> result=queued queued_as=" +
			id + "B time=0.006s why=" + why,
		"postfix/smtpd[4]: " + id + "B: client=localhost[127.0.0.1], orig_queue_id=" + id +
			"A, orig_client=mail.sender.example[192.0.2.25]",
		"postfix/qmgr[2]: " + id + "B: from=<long@sender.example>, size=512, nrcpt=1 (queue active)",
		"postfix/pipe[5]: " + id + "A: to=<bob@remote.example>, orig_to=<info@example.org>, " +
			"relay=postmend, delay=1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (delivered via postmend " +
			"service (2.0.0 queued as " + id + "B))",
		"postfix/qmgr[2]: " + id + "A: removed",
		"postfix/smtp[6]: " + id + "B: to=<bob@remote.example>, relay=mx.remote.example[192.0.2.9]:25, " +
			"delay=1, delays=0.1/0/0/0, " + end,
		"postfix/qmgr[2]: " + id + "B: removed",
	}
	return stamp + strings.Join(lines, "\n"+stamp) + "\n"
}

func TestCheckCountsTheSendersOfTheLastWeekThatDoNotFit(t *testing.T) {
	const sent = "dsn=2.0.0, status=sent (250 ok)"
	const bounced = "dsn=5.7.23, status=bounced (host mx.remote.example[192.0.2.9] said: 550 5.7.23 SPF " +
		"(in reply to MAIL FROM command))"
	now := time.Now()
	dir := t.TempDir()
	write := func(name, text string, age time.Duration) {
		t.Helper()
		path := filepath.Join(dir, name)
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".gz") {
			packed := gzip.NewWriter(file)
			_, err = packed.Write([]byte(text))
			err = errors.Join(err, packed.Close())
		} else {
			_, err = file.WriteString(text)
		}
		if err = errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if got := countUnfit(dir, now, unfitLog); got != (unfitSenders{}) ||
		!strings.Contains(got.String(), "report") {
		t.Errorf("without a log: %+v, %s", got, &got)
	}
	const day = 24 * time.Hour
	write("mail.log", forwardLog(now.Add(-time.Hour), "4F1A2A1", "sender-too-long", sent)+
		forwardLog(now.Add(-time.Minute), "4F1A2A2", "sender-too-long,dmarc-none", bounced)+
		forwardLog(now.Add(-time.Minute), "4F1A2A3", "sender-rewritten", bounced), 0)
	write("mail.log.1.gz", forwardLog(now.Add(-9*day), "4F1A2B1", "sender-too-long", sent)+
		forwardLog(now.Add(-3*day), "4F1A2B2", "sender-routed", sent), 2*day)
	write("mail.log.2", forwardLog(now.Add(-12*day), "4F1A2C1", "sender-too-long", sent), 11*day)
	if err := os.Mkdir(filepath.Join(dir, "mail.log.3"), 0o755); err != nil {
		t.Fatal(err)
	}
	want := unfitSenders{read: true, forwards: 3, rejected: 1}
	if got := countUnfit(dir, now, unfitLog); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := countUnfit(dir, now, 1500); !got.cut || got.forwards > 1 ||
		!strings.Contains(got.String(), "only a part") {
		t.Errorf("of the beginning: %+v, %s", got, &got)
	}
	write("mail.log.1.gz", "", 2*day)
	damaged := filepath.Join(dir, "mail.log.1.gz")
	if err := os.WriteFile(damaged, []byte("\x1f\x8bdamaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	want.forwards, want.cut = 2, true
	if got := countUnfit(dir, now, unfitLog); got != want {
		t.Errorf("a damaged file: %+v, want %+v", got, want)
	}
}
