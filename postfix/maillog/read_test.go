package maillog

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRotatedFilesAreReadInTheOrderOfWhatIsInThem(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, packed bool) string {
		var content bytes.Buffer
		if packed {
			w := gzip.NewWriter(&content)
			w.Write([]byte(text))
			w.Close()
		} else {
			content.WriteString(text)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		ended := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
		if err := os.Chtimes(path, ended, ended); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// Names tell nothing: the packed one has no ending, the one that has is not packed.
	third := write("mail.log", "Nov 25 00:00:00 mx third\n", false)
	second := write("mail.log.1", "-- Journal begins --\nNov 24 00:00:00 mx second\n", true)
	first := write("mail.log.2.gz", "2026-11-23T00:00:00Z mx first\n", false)
	empty := write("mail.log.3", "", false)
	files, err := Files([]string{third, second, empty, first}, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for n := range files {
		r, err := files[n].Open(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(&all, r)
		r.Close()
	}
	want := "2026-11-23T00:00:00Z mx first\n-- Journal begins --\nNov 24 00:00:00 mx second\n" +
		"Nov 25 00:00:00 mx third\n"
	if all.String() != want {
		t.Errorf("%q, want %q", all.String(), want)
	}
}

func TestWhatCannotBeReadSaysWhatToDo(t *testing.T) {
	xz := filepath.Join(t.TempDir(), "mail.log.xz")
	if err := os.WriteFile(xz, []byte("\xfd7zXZ\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	_, err := Files([]string{xz}, time.UTC)
	if err == nil || !strings.Contains(err.Error(), "apt-get install xz-utils") {
		t.Errorf("xz: %v", err)
	}
	if _, err := Files([]string{t.TempDir()}, time.UTC); err == nil ||
		!strings.Contains(err.Error(), "is a directory") {
		t.Errorf("directory: %v", err)
	}
}
