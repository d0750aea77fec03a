package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postmend/postfix/postconf"
	"postmend/tests/peer"
)

// Whoever keeps Postfix's files in a repository, with links from /etc/postfix, keeps them there.
func TestAMendKeepsTheLinksOfMainCFAndMasterCF(t *testing.T) {
	const main, master = "smtputf8_enable = no\n", "flags=Rq "
	h := hostOf(t, mainLines+main, strings.Replace(masterLines, "flags=q ", master, 1), postmend{})
	kept := filepath.Join(t.TempDir(), "kept of $Postfix")
	if err := os.Mkdir(kept, 0o755); err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(h.config.Dir, kept)
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"main.cf": kept, "master.cf": relative} {
		path := filepath.Join(h.config.Dir, name)
		if err := os.Rename(path, filepath.Join(kept, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(target, name), path); err != nil {
			t.Fatal(err)
		}
	}
	peer.Age(t, kept)
	if h.config, err = postconf.Open(h.config.Dir); err != nil {
		t.Fatal(err)
	}
	findings := judgePostfix(h)
	h.keepLinks(findings)
	for _, name := range []string{"smtputf8", "filter-flags"} {
		at := slices.IndexFunc(findings, func(f Finding) bool { return f.Name == name && f.Mend != "" })
		if at < 0 {
			t.Fatalf("no mend of %s", name)
		}
		if out, err := exec.Command("sh", "-c", findings[at].Mend).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", findings[at].Mend, err, out)
		}
	}
	for name, old := range map[string]string{"main.cf": main, "master.cf": master} {
		path := filepath.Join(h.config.Dir, name)
		if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeSymlink == 0 {
			t.Errorf("%s is no link: %v", name, err)
		}
		if text, err := os.ReadFile(filepath.Join(kept, name)); err != nil ||
			strings.Contains(string(text), old) {
			t.Errorf("%s still has %q: %v", name, old, err)
		}
	}
}
