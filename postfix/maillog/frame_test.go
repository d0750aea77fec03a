package maillog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postmend/tests/peer"
)

// logged is a line of the real log, taken apart by hand: all of its lines have the classic form.
type logged struct {
	at              time.Time
	host, tag, text string
}

func realLines(t testing.TB) (list []logged) {
	t.Helper()
	for line := range strings.Lines(string(realLog(t))) {
		line = strings.TrimSuffix(line, "\n")
		at, err := time.Parse("2006 Jan _2 15:04:05", "2026 "+line[:15])
		if err != nil {
			t.Fatal(err)
		}
		host, rest, _ := strings.Cut(line[16:], " ")
		tag, text, found := strings.Cut(rest, ": ")
		if !found {
			t.Fatalf("no tag in %q", line)
		}
		list = append(list, logged{at, host, tag, text})
	}
	return list
}

// app and pid are the parts of a tag "postfix/smtpd[123]".
func (l logged) app() string { app, _, _ := strings.Cut(l.tag, "["); return app }
func (l logged) pid() string {
	_, pid, _ := strings.Cut(l.tag, "[")
	return strings.TrimSuffix(pid, "]")
}

func (l logged) classic() string {
	return l.at.Format(time.Stamp) + " " + l.host + " " + l.tag + ": " + l.text
}

func (l logged) micro() int64 { return l.at.UnixMicro() + 123456 }

func encoded(t testing.TB, value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// octets is an array of numbers, as journalctl -o json has what is not printable.
func octets(text string) (list []int) {
	for _, c := range []byte(text) {
		list = append(list, int(c))
	}
	return list
}

// inOctets is a field of journalctl -o export that is not printable.
func inOctets(name, text string) string {
	return name + "\n" + string(binary.LittleEndian.AppendUint64(nil, uint64(len(text)))) + text + "\n"
}

// forms are the ways in which other programs write a line, by name.
func forms(t testing.TB) map[string]func(logged) string {
	list := map[string]func(logged) string{}
	for _, add := range []func(testing.TB, map[string]func(logged) string){syslogForms, journalForms,
		containerForms} {
		add(t, list)
	}
	return list
}

// plain is a form with a time stamp in front, a host, a tag, and the text.
func plain(layout, format string) func(logged) string {
	return func(l logged) string { return fmt.Sprintf(format, l.at.Format(layout), l.host, l.tag, l.text) }
}

func syslogForms(_ testing.TB, list map[string]func(logged) string) {
	list["RFC 3164 with PRI"] = plain(time.Stamp, "<22>%s %s %s: %s")
	list["RFC 3339 with PRI"] = plain(time.RFC3339Nano, "<22>%s %s %s: %s")
	rfc5424 := func(app, format string) func(logged) string {
		return func(l logged) string {
			name := l.app()
			if app != "" {
				name = app
			}
			return fmt.Sprintf(format, l.at.Format(time.RFC3339Nano), l.host, name, l.pid(), l.text)
		}
	}
	list["RFC 5424, syslog-ng"] = rfc5424("", "<22>1 %s %s %s %s - - \ufeff%s")
	list["RFC 5424, structured data"] = rfc5424("", `<22>1 %s %s %s %s - [a@1 b="x] \"y\\"][c d="e"] %s`)
	// its APP-NAME ends at the slash
	list["RFC 5424, rsyslog"] = rfc5424("postfix", "<22>1 %s %s %s %s - - %s")
}

func containerForms(t testing.TB, list map[string]func(logged) string) {
	stamp := func(l logged) string { return l.at.Format(time.RFC3339Nano) }
	list["docker compose"] = plain(time.Stamp, "mail-1  | %s %s %s: %s")
	list["docker compose, coloured"] = plain(time.Stamp, "\x1b[36mmail_1  |\x1b[0m %s %s %s: %s")
	list["docker compose with time stamps"] = func(l logged) string {
		return "mail-1 | " + stamp(l) + " " + l.classic()
	}
	list["docker logs with time stamps"] = func(l logged) string { return stamp(l) + " " + l.classic() }
	list["docker logs, no stamp within"] = func(l logged) string {
		return stamp(l) + " " + l.tag + ": " + l.text
	}
	list["CRI"] = func(l logged) string { return stamp(l) + " stdout F " + l.classic() }
	list["CRI, with parts"] = func(l logged) string {
		return stamp(l) + " stderr P <22>1 - mx x - - - \n" + stamp(l) + " stderr F " + l.classic()
	}
	list["kubectl with prefix"] = func(l logged) string { return "[pod/mail-0/postfix] " + l.classic() }
	list["docker json-file"] = func(l logged) string {
		return encoded(t, map[string]any{"log": l.classic() + "\n", "stream": "stdout", "time": stamp(l)})
	}
}

func journalForms(t testing.TB, list map[string]func(logged) string) {
	list["short-iso"] = plain("2006-01-02T15:04:05-0700", "%s %s %s: %s")
	list["short-iso-precise"] = plain("2006-01-02T15:04:05.000000-07:00", "%s %s %s: %s")
	list["short-precise"] = plain("Jan _2 15:04:05.000000", "%s %s %s: %s")
	list["short-full"] = plain("Mon 2006-01-02 15:04:05 UTC", "%s %s %s: %s")
	list["short-full, +00"] = plain("Mon 2006-01-02 15:04:05 +00", "%s %s %s: %s")
	list["with-unit"] = func(l logged) string {
		at := l.at.Format("Mon 2006-01-02 15:04:05 UTC")
		return fmt.Sprintf("%s %s postfix@-.service[%s]: %s", at, l.host, l.pid(), l.text)
	}
	list["short-unix"] = func(l logged) string {
		return fmt.Sprintf("%d.%06d %s %s: %s", l.at.Unix(), 123456, l.host, l.tag, l.text)
	}
	object := func(before, after string, message func(logged) any) func(logged) string {
		return func(l logged) string {
			return before + encoded(t,
				map[string]any{"__CURSOR": "s=1", "__REALTIME_TIMESTAMP": fmt.Sprint(l.micro()),
					"_PID": l.pid(), "SYSLOG_IDENTIFIER": l.app(), "MESSAGE": message(l), "PRIORITY": "6"}) +
				after
		}
	}
	text := func(l logged) any { return l.text }
	list["json"] = object("", "", text)
	list["json, octets"] = object("", "", func(l logged) any { return octets(l.text) })
	list["json-seq"] = object("\x1e", "", text)
	list["json-sse"] = object("data: ", "\n", text)
	list["export"] = func(l logged) string {
		return fmt.Sprintf("__CURSOR=s=1\n__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=1\n_PID=%s\n"+
			"SYSLOG_IDENTIFIER=%s\nMESSAGE=%s\nSYSLOG_FACILITY=2\n", l.micro(), l.pid(), l.app(), l.text)
	}
	// A length of 10, and a line end within a field, look like the end of a line.
	list["export, octets"] = func(l logged) string {
		return fmt.Sprintf("__CURSOR=s=1\n__REALTIME_TIMESTAMP=%d\n", l.micro()) +
			inOctets("_CMDLINE", "ten octets") + inOctets("OTHER", "a\n\nMESSAGE=forged") +
			"SYSLOG_IDENTIFIER=" + l.app() + "\n" + inOctets("MESSAGE", l.text)
	}
}

// outcomesOfLog reads a log octet for octet.
func outcomesOfLog(t testing.TB, log string) (list []string, stats Stats) {
	t.Helper()
	tracker := NewTracker(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), time.UTC)
	tracker.Outcome = func(o *Outcome) { list = append(list, tell(o)) }
	if err := tracker.Read(strings.NewReader(log)); err != nil {
		t.Error(err)
	}
	tracker.Close()
	slices.Sort(list)
	return list, tracker.Stats
}

// The same mail, whatever program wrote the log.
func TestALogIsReadTheSameInEveryForm(t *testing.T) {
	lines := realLines(t)
	want, wantStats := outcomesOf(t, string(realLog(t)))
	if len(want) < 20 {
		t.Fatalf("only %d outcomes", len(want))
	}
	for name, write := range forms(t) {
		var log strings.Builder
		for _, line := range lines {
			log.WriteString(write(line) + "\n")
		}
		got, stats := outcomesOfLog(t, log.String())
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d outcomes, want %d; the log begins\n%.200q", name, len(got), len(want),
				log.String())
		}
		stats.Lines = wantStats.Lines
		if stats != wantStats {
			t.Errorf("%s: %+v, want %+v", name, stats, wantStats)
		}
	}
}

// Whatever a container's clock and zone are, the log driver's time counts.
func TestTheTimeOfTheOuterFrameCounts(t *testing.T) {
	for _, line := range []string{
		"2026-11-25T10:00:00.5Z stdout F Nov 25 03:00:00 mx postfix/qmgr[1]: 4F1A2B3C4D: removed",
		`{"log":"2020-01-01T00:00:00Z mx postfix/qmgr[1]: 4F1A2B3C4D: removed\n",` +
			`"time":"2026-11-25T10:00:00.5Z"}`,
		"Wed 2026-11-25 10:00:00 UTC mx postfix/qmgr[1]: 4F1A2B3C4D: removed",
		"Wed 2026-11-25 13:30:00 +0330 mx postfix/qmgr[1]: 4F1A2B3C4D: removed",
		"1795600800.000001 mx postfix/qmgr[1]: 4F1A2B3C4D: removed",
	} {
		latest := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
		f := framing{clock: clock{latest: latest, zone: time.FixedZone("", 3600)}}
		e, ok := f.parse([]byte(line))
		want := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
		if !ok || e.at != want.Unix() || e.daemon != qmgr {
			t.Errorf("%s: %v, %v, daemon %d", line, time.Unix(e.at, 0).UTC(), ok, e.daemon)
		}
	}
}

func TestCompressedLogsAreRead(t *testing.T) {
	log := realLog(t)
	for ending, program := range map[string]string{".gz": "gzip", ".xz": "xz", ".zst": "zstd",
		".bz2": "bzip2"} {
		cmd := exec.Command(peer.Need(t, program), "-c")
		cmd.Stdin = bytes.NewReader(log)
		packed, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), "mail.log.1"+ending)
		if err := os.WriteFile(name, packed, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(t, name); err != nil || !bytes.Equal(got, log) {
			t.Errorf("%s: %d octets of %d, %v", program, len(got), len(log), err)
		}
		if Ending(name) != ending || Unreadable(name) != "" {
			t.Errorf("%s: ending %q, missing %q", name, Ending(name), Unreadable(name))
		}
		if err := os.WriteFile(name, packed[:len(packed)/2], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readAll(t, name); err == nil {
			t.Errorf("%s: half a file is read without an error", program)
		}
	}
}

// readAll reads a log as report does.
func readAll(t *testing.T, name string) ([]byte, error) {
	t.Helper()
	files, err := Files([]string{name}, time.UTC)
	if err != nil {
		return nil, err
	}
	r, err := files[0].Open(nil, nil)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var all bytes.Buffer
	_, err = all.ReadFrom(r)
	return all.Bytes(), err
}

func FuzzFraming(f *testing.F) {
	lines := realLines(f)
	for _, write := range forms(f) {
		f.Add(write(lines[0]) + "\n" + write(lines[1]) + "\n")
	}
	f.Add("__CURSOR=\nMESSAGE\n\xff\xff\xff\xff\xff\xff\xff\x7f\n")
	f.Fuzz(func(t *testing.T, log string) {
		frame := framing{clock: clock{latest: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), zone: time.UTC}}
		for line := range strings.SplitSeq(log, "\n") {
			if e, ok := frame.parse(cut([]byte(line))); ok && !isQueueID(e.id) {
				t.Errorf("queue id %q", e.id)
			}
		}
		if len(frame.record.octets) > maxField+2*maxLine {
			t.Errorf("%d octets are kept", len(frame.record.octets))
		}
	})
}

// journalctl itself writes each of its forms of the real log.
func TestEveryFormOfJournalctlIsRead(t *testing.T) {
	const remote = "/lib/systemd/systemd-journal-remote"
	if _, err := os.Stat(remote); err != nil {
		peer.Missing(t, remote+" is not installed (make peers)")
	}
	write := forms(t)["export"]
	var export strings.Builder
	for _, line := range realLines(t) {
		fmt.Fprintf(&export, "%s_SYSTEMD_UNIT=postfix@-.service\n_HOSTNAME=%s\n_BOOT_ID=%032d\n\n",
			strings.TrimPrefix(write(line), "__CURSOR=s=1\n"), line.host, 1)
	}
	journal := filepath.Join(t.TempDir(), "mail.journal")
	cmd := exec.Command(remote, "--output="+journal, "-")
	cmd.Stdin = strings.NewReader(export.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want, _ := outcomesOf(t, string(realLog(t)))
	for _, form := range []string{"short", "short-full", "short-iso", "short-iso-precise", "short-precise",
		"short-unix", "with-unit", "export", "json", "json-seq", "json-sse"} {
		for _, zone := range []string{"UTC", "Europe/Berlin"} {
			cmd := exec.Command(peer.Need(t, "journalctl"), "--file="+journal, "--output="+form, "--all")
			cmd.Env = []string{"TZ=" + zone}
			log, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := outcomesOfLog(t, string(log)); !slices.Equal(got, want) {
				t.Errorf("%s, %s: %d outcomes, want %d; the log begins\n%.300s",
					form, zone, len(got), len(want), log)
			}
		}
	}
}
