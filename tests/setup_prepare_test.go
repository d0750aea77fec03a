package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postmend/tests/mta"
	"postmend/tests/peer"
)

// Between --prepare and --apply the records are published: mail must not pass postmend before that.
func TestPrepareLeavesPostfixAlone(t *testing.T) {
	t.Parallel()
	peer.NeedRoot(t)
	peer.Need(t, "postfix")
	program := filepath.Join(mta.Folder(t), "postmend")
	build(t, program)
	h := restingHost(t, program, "", "")
	peer.Age(t, h.Dir)
	before := h.files()
	shown := h.setup()
	if h.files() != before || !strings.Contains(shown, "Nothing has been changed") ||
		!strings.Contains(shown, "setup --prepare") {
		t.Errorf("without a flag:\n%s", shown)
	}
	if lines := strings.Count(shown[:strings.Index(shown, "Note")], "\n"); lines > 12 {
		t.Errorf("what would be done takes %d lines:\n%s", lines, shown)
	}

	main := h.bytes()
	prepared := h.setup("--prepare", "--mode", "content-filter")
	if h.bytes() != main {
		t.Errorf("Postfix was changed:\n%s", h.bytes())
	}
	for _, want := range []string{"._domainkey.example.org. IN TXT", "postmend check", "setup --apply",
		`mx.example.org. IN TXT "v=spf1 a -all"`} {
		if !strings.Contains(prepared, want) {
			t.Errorf("no %s in\n%s", want, prepared)
		}
	}
	for _, path := range []string{"postmend.toml", "srs.secrets"} {
		if _, err := os.Stat(filepath.Join(h.root, "etc/postmend", path)); err != nil {
			t.Error(err)
		}
	}
	folder, err := os.Stat(filepath.Join(h.root, "etc/postmend/srs"))
	if err != nil || folder.Mode() != os.ModeDir|0o700 {
		t.Errorf("the store of senders: %v, %v", folder, err)
	}
	if again := h.setup("--prepare"); !strings.Contains(again, "Nothing to do") || h.bytes() != main {
		t.Errorf("a second run:\n%s", again)
	}
	if lines := strings.Split(strings.TrimSpace(prepared),
		"\n"); !strings.HasPrefix(lines[len(lines)-1], "Next: ") {
		t.Errorf("what comes next does not come last:\n%s", prepared)
	}
	records := prepared[strings.Index(prepared, "; DNS records"):strings.Index(prepared, "\n\nNext: ")]
	if applied := h.setup("--apply"); !strings.Contains(applied, records) || h.bytes() == main {
		t.Errorf("--apply has other records than --prepare:\n%s\n%s", applied, prepared)
	}
}
