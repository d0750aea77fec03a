package config

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAPasswordFileMustBeOneLineThatOthersCannotRead(t *testing.T) {
	const secret = "s3cr3t pass"
	for _, tc := range []struct {
		name, content string
		mode          os.FileMode
		want          string // in the error; "" is none
	}{
		{"good", secret + "\n", 0o600, ""},
		{"group may read", secret, 0o640, ""},
		{"others may read", secret, 0o644, "chmod g-w,o= "},
		{"others may write", secret, 0o602, "chmod g-w,o= "},
		{"group may write", secret, 0o660, "chmod g-w,o= "},
		{"empty", "\n", 0o600, "empty"},
		{"two lines", "a\nb\n", 0o600, "one line"},
		{"NUL", "a\x00b", 0o600, "one line"},
		{"too long", strings.Repeat("x", 2000), 0o600, "1024"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(path, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tc.mode); err != nil { // umask does not count
				t.Fatal(err)
			}
			got, err := readPassword(path)
			switch {
			case tc.want == "" && (err != nil || got != secret):
				t.Errorf("got %q, %v", got, err)
			case tc.want != "" &&
				(err == nil || !strings.Contains(err.Error(), tc.want) ||
					!strings.Contains(err.Error(), path) ||
					strings.Contains(err.Error(), secret)):
				t.Errorf("got %v, want an error with %q and the path, without the password", err, tc.want)
			}
		})
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing"), pipe} {
		if _, err := readPassword(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v", path, err)
		}
	}
}
