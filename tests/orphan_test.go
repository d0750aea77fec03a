package tests

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"postmend/tests/mta"
)

// TestACopyThatPipeDidNotLiveToFinishIsNotSent: pipe(8) dies before postmend has begun, and what it wrote
// until then looks whole. Postfix has the message still, so whatever is handed over would be a second,
// truncated one.
func TestACopyThatPipeDidNotLiveToFinishIsNotSent(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]string{
		"an orphan":                  "exec POSTMEND \"$@\" <<END\n$body\nEND",
		"a script between it and us": "printf '%s\\n' \"$body\" | POSTMEND \"$@\"",
	} {
		t.Run(name, func(t *testing.T) {
			f := startChanged(t, func(f *forwarder, main, master *string) {
				withoutReverseTable(f, main, master)
				*main += "transport_retry_time = 1s\nservice_throttle_time = 1s\n"
			})
			log := f.syslog()
			dir := filepath.Dir(f.config)
			file := func(name string) string { return filepath.Join(dir, name) }
			for _, name := range []string{"caller", "killed"} {
				f.check(syscall.Mkfifo(file(name), 0o600))
				chownNobody(t, file(name))
			}
			f.check(os.Link(f.program, file("real")))
			writeProgram(t, file("script"),
				[]byte("#!/bin/sh\nbody=$(head -c 500)\necho $PPID >"+file("caller")+"\nread line <"+
					file("killed")+"\n"+
					strings.ReplaceAll(start, "POSTMEND", file("real"))+"\n"))
			f.check(os.Link(f.program, file("good")))
			f.check(os.Rename(file("script"), f.program))
			id := mta.Submit(t, f.smtp,
				mta.Mail{From: "alice@sender.example", To: []string{"alias@example.org"}, XClient: stranger,
					Content: faultMessage("orphan")})
			caller, err := os.ReadFile(file("caller"))
			f.check(err)
			pid, err := strconv.Atoi(strings.TrimSpace(string(caller)))
			f.check(err)
			f.check(os.Rename(file("good"), f.program)) // for the next try
			f.check(syscall.Kill(pid, syscall.SIGKILL))
			f.WaitLog(0, "killed by signal 9")
			f.check(os.WriteFile(file("killed"), []byte("go on\n"), 0))
			if line := <-log; !strings.Contains(line, "the process that started postmend has ended") {
				t.Errorf("logged %q", line)
			}
			f.Retry(id)
			f.remote.Wait(1)
			f.waitEmptyQueue()
			got := f.remote.Messages()
			if len(got) != 1 || !bytes.HasSuffix(got[0].Content,
				bytes.ReplaceAll(faultMessage("orphan"), []byte("\n"), []byte("\r\n"))) {
				t.Errorf("%d messages came, the first of %d octets", len(got), len(got[0].Content))
			}
		})
	}
}
