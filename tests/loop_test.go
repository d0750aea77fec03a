package tests

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postmend/tests/mta"
)

// TestAListenerThatFiltersAgainIsNoticedOnTheSecondPass leaves out the one option, and puts it in when mail
// has piled up.
func TestAListenerThatFiltersAgainIsNoticedOnTheSecondPass(t *testing.T) {
	t.Parallel()
	for name, install := range map[string]struct{ main, option string }{
		"content filter": {"content_filter = postmend:dummy\n", "  -o content_filter=\n"},
		"transport":      {"default_transport = postmend:dummy\n", "  -o content_filter=smtp:SINK\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startChanged(t, func(_ *forwarder, main, master *string) {
				replace(t, main, "content_filter = postmend:dummy\n", install.main)
				replace(t, master, "  -o content_filter=\n", "")
			})
			log := f.syslog()
			content := []byte("From: alice@sender.example\nSubject: loop\nDate: Mon, 2 Nov 2026 10:00:00 " +
				"+0000\nMessage-ID: <loop@sender.example>\n\ntext\n")
			mark := f.Mark()
			mta.Submit(t, f.smtp, mta.Mail{From: "alice@sender.example", To: []string{"alias@example.org"},
				XClient: stranger, Content: content})
			f.WaitLog(mark, `relay=postmend.*status=sent`)
			found := f.WaitLog(mark, `(\w+): to=<remote@example.com>.*relay=postmend.* dsn=(4.*)`)
			again := found[1]
			if !strings.HasPrefix(found[2], "4.3.5, status=deferred") ||
				!strings.Contains(found[2], "-o content_filter=") {
				t.Errorf("the second pass ended with %q", found[2])
			}
			if passes := strings.Count(f.Log(), "relay=postmend"); passes != 2 {
				t.Errorf("%d passes, want 2", passes)
			}
			told := false
			for _, line := range f.logged(log) {
				told = told || strings.Contains(line, "postsuper -r "+again)
			}
			if !told {
				t.Error("postmend's log line does not tell what to do")
			}

			path := filepath.Join(f.Dir, "master.cf")
			master, err := os.ReadFile(path)
			f.check(err)
			complete := string(master)
			const first = "  -o syslog_name=postfix/reinject\n"
			replace(t, &complete, first,
				first+strings.Replace(install.option, "SINK", "[127.0.0.1]:"+f.remote.Port, 1))
			f.check(os.WriteFile(path, []byte(complete), 0o644))
			f.Reload()
			out, err := exec.Command("postsuper", "-c", f.Dir, "-r", again).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			f.remote.Wait(1)
			f.waitEmptyQueue()
			got := f.remote.Messages()
			if len(got) != 1 || !strings.HasSuffix(got[0].From, "=sender.example=alice@"+srsDomain) ||
				bytes.Count(got[0].Content, []byte("DKIM-Signature:")) != 2 ||
				!bytes.HasSuffix(got[0].Content, bytes.ReplaceAll(content, []byte("\n"), []byte("\r\n"))) {
				t.Errorf("%d messages came: %+v", len(got), got)
			}
			if strings.Contains(f.Log(), "status=bounced") {
				t.Error("something bounced")
			}
		})
	}
}
