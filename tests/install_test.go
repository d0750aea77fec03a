package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postmend/tests/peer"
)

// `make install` has what the package has for `postmend serve`: units with the names that docs/postfix.md
// gives them, which start the program that was installed. `make uninstall` leaves nothing.
func TestMakeInstallsUnitsThatStartItsProgram(t *testing.T) {
	t.Parallel()
	peer.NeedAnywhere(t, "make")
	source, root := t.TempDir(), t.TempDir()
	for _, name := range []string{"Makefile", "debian"} {
		if out, err := exec.Command("cp", "-r", "../"+name, source).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if err := os.MkdirAll(filepath.Join(source, "bin/man"), 0o755); err != nil {
		t.Fatal(err)
	}
	build(t, filepath.Join(source, "bin/postmend"))
	for _, page := range []string{"postmend.toml.5", "postmend.8", "postmend-check.8"} {
		if err := os.WriteFile(filepath.Join(source, "bin/man", page), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files := func(target string) (found []string) {
		make := exec.Command("make", "-C", source, "DESTDIR="+root, "PREFIX=/opt/mail", target)
		out, err := make.CombinedOutput()
		if err != nil {
			t.Fatalf("make %s: %v\n%s", target, err, out)
		}
		filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
			if err == nil && !info.IsDir() {
				found = append(found, strings.TrimPrefix(path, root))
			}
			return err
		})
		return found
	}
	installed := files("install")
	for _, want := range []string{"/opt/mail/bin/postmend", "/opt/mail/share/man/man8/postmend-check.8",
		"/opt/mail/share/bash-completion/completions/postmend"} {
		if !slices.Contains(installed, want) {
			t.Errorf("%s is missing: %q", want, installed)
		}
	}
	for unit, line := range map[string]string{
		"postmend.service":     "ExecStart=/opt/mail/bin/postmend serve\n",
		"postmend.socket":      "FileDescriptorName=milter\n",
		"postmend-lmtp.socket": "FileDescriptorName=lmtp\nService=postmend.service\n",
	} {
		text, err := os.ReadFile(filepath.Join(root, "/opt/mail/lib/systemd/system", unit))
		if err != nil || !strings.Contains(string(text), line) ||
			strings.Contains(string(text), "/usr/bin/") {
			t.Errorf("%s: %v\n%s", unit, err, text)
		}
	}
	if left := files("uninstall"); left != nil {
		t.Errorf("left behind: %q", left)
	}
}
