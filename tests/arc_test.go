package tests

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postmend/dkim"
	"postmend/tests/judge"
	"postmend/tests/mta"
)

const listMail = "From: Alice <alice@sender.example>\r\nTo: alias@example.org\r\nSubject: hello\r\n" +
	"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@sender.example>\r\n\r\nGood morning.\r\n"

// TestAnARCChainLeavesLongerOrAsBrokenAsItCame: what leaves is judged by dkimpy and Mail::DKIM, which also
// built the chains that arrive.
func TestAnARCChainLeavesLongerOrAsBrokenAsItCame(t *testing.T) {
	t.Parallel()
	f := start(t)
	records := f.records()
	list := filepath.Join(t.TempDir(), "list.pem")
	pem, err := dkim.GenerateKey("")
	f.check(err)
	f.check(os.WriteFile(list, pem, 0o600))
	key, err := dkim.LoadKey("list.example", "s", list)
	f.check(err)
	record, err := key.Record()
	f.check(err)
	records[key.RecordName()] = record
	for name, text := range records {
		f.check(f.dns.Add(name + " TXT " + text))
	}
	dkimpy, mailDKIM := judge.DKIMPySealer(t, records), judge.MailDKIMSealer(t, f.dns)
	seal := func(s *judge.Sealer, message, status string) string {
		return string(s.Seal([]byte(message), status, "list.example", "s", list))
	}
	one := seal(dkimpy, listMail, "none")
	two := seal(mailDKIM, one, "pass")
	changed := func(m string) string { return strings.Replace(m, "Good morning", "Good evening", 1) }
	for n, c := range []struct {
		name, arrives string
		status        string // of what leaves
		sets          int
		cv            string // of the newest seal
	}{
		{"no chain", listMail, "pass", 1, "none"},
		{"a chain of one", one, "pass", 2, "pass"},
		{"a chain of two", two, "pass", 3, "pass"},
		{"a chain that broke on the way", changed(two), "fail", 3, "fail"},
		{"a chain whose newest seal says so", seal(dkimpy, changed(one), "fail"), "fail", 2, "fail"},
		{"a chain with a hole", strings.Replace(two, "ARC-Seal: i=1", "X-Seal: i=1", 1), "fail", 3, "fail"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mta.Submit(t, f.smtp, mta.Mail{From: "alice@sender.example", To: []string{"alias@example.org"},
				XClient: stranger, Content: []byte(c.arrives)})
			left := f.remote.Wait(n + 1)[n].Content
			if !bytes.HasSuffix(left, []byte(c.arrives)) {
				t.Errorf("what arrived was changed:\n%s", left)
			}
			for judge, s := range map[string]*judge.Sealer{"dkimpy": dkimpy, "Mail::DKIM": mailDKIM} {
				if got := s.Verify(left); got != c.status {
					t.Errorf("%s says %s, want %s", judge, got, c.status)
				}
			}
			newest := regexp.MustCompile(fmt.Sprintf(`(?s)\nARC-Seal: i=%d;.*?cv=(\w+)`,
				c.sets)).FindSubmatch(append([]byte("\n"), left...))
			if newest == nil || string(newest[1]) != c.cv ||
				bytes.Contains(left, fmt.Appendf(nil, "ARC-Seal: i=%d;", c.sets+1)) {
				t.Errorf("want %d sets, and cv=%s in the newest", c.sets, c.cv)
			}
			if t.Failed() {
				t.Logf("%s", left)
			}
		})
	}
}
