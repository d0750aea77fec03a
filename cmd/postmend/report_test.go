package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const refusedLog = `Nov 24 10:00:00 mx postfix/smtpd[1]: 4F1A2B3C4D: client=mail.sender.example[192.0.2.1]
Nov 24 10:00:00 mx postfix/qmgr[3]: 4F1A2B3C4D: from=<alice@sender.example>, size=512, nrcpt=1 (queue active)
Nov 24 10:00:01 mx postfix/smtp[4]: 4F1A2B3C4D: to=<bob@b.example>, orig_to=<info@example.org>, ` +
	`relay=mx.b.example[192.0.2.9]:25, delay=1, delays=0.1/0/0/0, dsn=5.7.1, status=bounced ` +
	`(host mx.b.example[192.0.2.9] said: 550 <script>alert(1)</script> DMARC "&' says no)
Nov 24 10:00:01 mx postfix/qmgr[3]: 4F1A2B3C4D: removed
`

// reportOn runs report on a log and gives what it prints.
func reportOn(t *testing.T, log string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mail.log")
	if err := os.WriteFile(path, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	status = run(append(append([]string{"report"}, args...), path), strings.NewReader(""), &out, &errs)
	return out.String(), errs.String(), status
}

func TestReportLeavesOutWhatEndedAtAnotherTime(t *testing.T) {
	year := time.Now().Year()
	if time.Now().Before(time.Date(year, 11, 24, 0, 0, 0, 0, time.Local)) {
		year--
	}
	day := time.Date(year, 11, 24, 0, 0, 0, 0, time.Local).Format("2006-01-02")
	for _, c := range []struct {
		args []string
		want bool
	}{
		{nil, true},
		{[]string{"--since", day}, true},
		{[]string{"--since", day + " 10:00:01", "--until", day + " 10:00:02"}, true},
		{[]string{"--since", day + " 10:00:02"}, false},
		{[]string{"--until", day + " 10:00:01"}, false},
	} {
		out, errs, status := reportOn(t, refusedLog, c.args...)
		if status != 0 || strings.Contains(out, "sender.example") != c.want {
			t.Errorf("%q: status %d, %s%s", c.args, status, out, errs)
		}
	}
}

func TestRulesOfTheOperatorComeFirst(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "rules.toml")
	for _, c := range []struct{ rules, want string }{
		{"[[class]]\nname = \"house\"\ntitle = \"house rules\"\nadvice = \"Ring them.\"\n[[rule]]\n" +
			"class = \"house\"\nreceiver = \"b.example\"\npatterns = [\"dmarc*SAYS no\"]\n",
			"house rules: Ring them."},
		{"[[rule]]\nclass = \"house\"\npatterns = [\"x\"]\n", `unknown class "house"`},
		{"[[rule]]\nclass = \"spf\"\npattern = [\"x\"]\n", `unknown key "rule.pattern"`},
		{"[[rule]]\nclass = \"spf\"\npatterns = [\"*\"]\n", "would fit everything"},
		{"[[rule]]\nclass = \"spf\"\npatterns = [\n", "line "},
	} {
		if err := os.WriteFile(rules, []byte(c.rules), 0o600); err != nil {
			t.Fatal(err)
		}
		out, errs, _ := reportOn(t, refusedLog, "--rules", rules)
		if !strings.Contains(out+errs, c.want) {
			t.Errorf("%s\n%s%s\nwant %s", c.rules, out, errs, c.want)
		}
	}
}

func TestThePageShowsWhatALogSaysAsText(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.html")
	if _, errs, status := reportOn(t, refusedLog, "--html", page); status != 0 {
		t.Fatal(errs)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "<script") ||
		!strings.Contains(string(text),
			"&lt;script&gt;alert(1)&lt;/script&gt; DMARC &#34;&amp;&#39; says no") {
		t.Errorf("%s", text)
	}
}

// followed is a log that report follows.
type followed struct {
	t     *testing.T
	path  string
	told  *io.PipeReader
	lines chan string
	ended chan int
}

// follow starts report on a log, and returns when it has read what is there.
func follow(t *testing.T, log string) *followed {
	t.Helper()
	f := &followed{t: t, path: filepath.Join(t.TempDir(), "mail.log"), lines: make(chan string),
		ended: make(chan int, 1)}
	f.write(log, os.O_APPEND)
	metrics := filepath.Join(t.TempDir(), "postmend.prom")
	told, w := io.Pipe()
	f.told = told
	go func() {
		var errs bytes.Buffer
		f.ended <- run([]string{"report", "--follow", "--prometheus", metrics, f.path},
			strings.NewReader(""), w, &errs)
	}()
	go func() {
		buffer := make([]byte, 64<<10)
		for {
			n, err := told.Read(buffer)
			if err != nil {
				close(f.lines)
				return
			}
			f.lines <- string(buffer[:n])
		}
	}()
	patience := time.After(time.Minute)
	for tick := time.NewTicker(5 * time.Millisecond); ; { // the counters are written when all has been read
		if _, err := os.Stat(metrics); err == nil {
			return f
		}
		select {
		case <-tick.C:
		case <-patience:
			t.Fatal("no counters were written")
		}
	}
}

func (f *followed) write(text string, flag int) {
	f.t.Helper()
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|flag, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(text); err != nil {
		f.t.Fatal(err)
	}
}

// expect waits for the line about a message.
func (f *followed) expect(id string) {
	f.t.Helper()
	want := id +
		": DMARC policy: from <alice@sender.example> to <bob@b.example> by <info@example.org> at " +
		"b.example: host"
	select {
	case line := <-f.lines:
		if !strings.Contains(line, want) || strings.Count(line, "\n") != 1 {
			f.t.Errorf("told %q, want the refusal of %s", line, id)
		}
	case <-time.After(time.Minute):
		f.t.Fatalf("nothing was told of %s", id)
	}
}

// TestFollowTellsOfRefusalsOverRotationAndTruncation: what stood in the log before is not told; then each
// refusal is, once.
func TestFollowTellsOfRefusalsOverRotationAndTruncation(t *testing.T) {
	message := func(id string) string { return strings.ReplaceAll(refusedLog, "4F1A2B3C4D", id) }
	f := follow(t, message("AAAAAAAAA1"))
	whole := message("CCCCCCCCC1")
	f.write(whole[:300], os.O_APPEND)
	f.write(whole[300:], os.O_APPEND)
	f.expect("CCCCCCCCC1")
	if err := os.Rename(f.path, f.path+".1"); err != nil {
		t.Fatal(err)
	}
	f.write(message("DDDDDDDDD1"), os.O_EXCL)
	f.expect("DDDDDDDDD1")
	f.write(strings.Repeat("filler\n", 1000)+message("DDDDDDDDD2"), os.O_APPEND)
	f.expect("DDDDDDDDD2")
	f.write(message("EEEEEEEEE1"), os.O_TRUNC)
	f.expect("EEEEEEEEE1")
	f.told.Close() // nobody reads on: the next refusal ends it
	f.write(message("FFFFFFFFF1"), os.O_APPEND)
	select {
	case <-f.ended:
	case <-time.After(time.Minute):
		t.Error("it goes on although nobody reads")
	}
}

func TestALogWithoutPostfixsLinesSaysSo(t *testing.T) {
	own := "Nov 24 10:00:00 mx postmend[1]: 4F1A2B3C4D: classes=forwarded:1 from=<a@b.example> " +
		"result=queued queued_as=4F1A2B3C4E time=0.006s\n"
	const hint = "journalctl --facility=mail"
	if out, errs, status := reportOn(t, own); status != 0 || !strings.Contains(out, hint) {
		t.Errorf("postmend's line alone: status %d, %s%s", status, out, errs)
	}
	if out, _, _ := reportOn(t, own+refusedLog); strings.Contains(out, hint) {
		t.Errorf("postmend's line and Postfix's: %s", out)
	}
}

func TestALogInWhichNothingIsRecognisedIsAFailure(t *testing.T) {
	for name, log := range map[string]string{
		"empty":           "",
		"another log":     "Nov 24 10:00:00 mx sshd[1]: Accepted publickey for root\n",
		"short-monotonic": "[    1.000000] mx postfix/qmgr[3]: 4F1A2B3C4D: removed\n",
	} {
		metrics := filepath.Join(t.TempDir(), "postmend.prom")
		out, errs, status := reportOn(t, log, "--prometheus", metrics)
		if status != 1 || out != "" || strings.Count(errs, "\n") != 1 ||
			!strings.Contains(errs, "nothing of Postfix's was recognised") {
			t.Errorf("%s: status %d, %q, %q", name, status, out, errs)
		}
		if _, err := os.Stat(metrics); err != nil {
			t.Errorf("%s: no counters: %v", name, err)
		}
		out, _, status = reportOn(t, log, "--json")
		var report struct {
			From, To *time.Time
			Series   struct{ Start *time.Time } `json:"over_time"`
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil || status != 1 {
			t.Errorf("%s, as JSON: status %d, %v", name, status, err)
		}
		if report.From != nil || report.To != nil || report.Series.Start != nil {
			t.Errorf("%s: the JSON has times: %s", name, out)
		}
	}
}

func TestWithoutANameTheRotatedLogsAreReadOrNamed(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"mail.log", "mail.log.1", "mail.log.2.gz", "mail.log-20261101.xz",
		"mail.log.3.zst", "mail.log.old", "mail.logs"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	programs := t.TempDir() // neither xz nor zstd
	if err := os.WriteFile(filepath.Join(programs, "gzip"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", programs)
	var notice bytes.Buffer
	logs, err := defaultLogs(dir, false, &notice)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, log := range logs {
		names = append(names, filepath.Base(log))
	}
	if got := strings.Join(names, " "); got != "mail.log mail.log.1 mail.log.2.gz" {
		t.Errorf("%s are read", got)
	}
	text := notice.String()
	if !strings.Contains(text, "mail.log-20261101.xz") || !strings.Contains(text, "mail.log.3.zst") ||
		strings.Contains(text, ".old") {
		t.Errorf("told: %q", text)
	}
	if logs, err := defaultLogs(dir, true, &notice); err != nil || len(logs) != 1 ||
		filepath.Base(logs[0]) != "mail.log" {
		t.Errorf("%q are followed, %v", logs, err)
	}
	only := t.TempDir()
	if err := os.WriteFile(filepath.Join(only, "maillog.1.zst"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if logs, err := defaultLogs(only, false, &notice); err != nil || len(logs) != 1 {
		t.Error("if there is nothing else, it is not left to be opened, which says what to install")
	}
	if _, err := defaultLogs(t.TempDir(), false, &notice); err == nil ||
		!strings.Contains(err.Error(), "journalctl") {
		t.Errorf("no log: %v", err)
	}
}

func TestAFileIsWrittenThroughASymbolicLink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "www", "page.html"), filepath.Join(dir, "link.html")
	for _, err := range []error{os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("old"), 0o640),
		os.Symlink("www/page.html", link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, errs, status := reportOn(t, refusedLog, "--html", link); status != 0 {
		t.Fatal(errs)
	}
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info, err)
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(text), "<!DOCTYPE html>") {
		t.Errorf("%v, %.20q", err, text)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
		t.Errorf("beside the file stands %v", left)
	}
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink("nowhere/page.html", dangling); err != nil {
		t.Fatal(err)
	}
	if _, errs, status := reportOn(t, refusedLog, "--html", dangling); status != 78 ||
		!strings.Contains(errs, "no such file") {
		t.Errorf("a link to nothing: status %d, %q", status, errs)
	}
}
