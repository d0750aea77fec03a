package wholefile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestAFileAppearsWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	full := errors.New("no space left")
	failing := func(w io.Writer) error {
		io.WriteString(w, "half")
		return full
	}
	if err := Write(path, Options{}, failing); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	if err := Write(path, Options{}, Content([]byte("old"))); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, Options{}, failing); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	if err := Write(path, Options{New: true}, Content([]byte("new"))); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that is not to be replaced: %v", err)
	}
	content, err := os.ReadFile(path)
	if err != nil || string(content) != "old" {
		t.Errorf("the file has %q, %v", content, err)
	}
	other := filepath.Join(dir, "other")
	if err := Write(other, Options{New: true, Mode: 0o640}, Content([]byte("new"))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{path: 0o600, other: 0o640} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want mode %v", name, info, err, want)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("the folder has %v", left)
	}
}

func TestReplaceKeepsTheMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, want := range []fs.FileMode{0o644, 0o604} {
		if err := Replace(path, Content([]byte("x"))); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%v, %v; want mode %v", info.Mode(), err, want)
		}
		if err := os.Chmod(path, 0o604); err != nil {
			t.Fatal(err)
		}
	}
	if err := Replace(t.TempDir(), Content(nil)); err == nil {
		t.Error("a folder is replaced")
	}
}
