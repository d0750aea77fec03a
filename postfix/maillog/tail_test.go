package maillog

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestWhatIsWrittenToARenamedLogIsRead: logrotate(8) renames the log and makes an empty one, and the daemon
// goes on with the old one until it is told to open the new one.
func TestWhatIsWrittenToARenamedLogIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.log")
	write := func(path, text string) {
		t.Helper()
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	write(path, "first\n")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	tracker := NewTracker(time.Now(), time.UTC)
	steps := []func(){
		func() {
			if err := os.Rename(path, path+".1"); err != nil {
				t.Fatal(err)
			}
			write(path, "")
		},
		func() { write(path+".1", "second\n") },
		func() { write(path, "third\n") },
		stop,
	}
	tail := Tail{Tracker: tracker, CaughtUp: func() {
		if len(steps) > 0 {
			steps[0]()
			steps = steps[1:]
		}
	}}
	if err := tail.File(ctx, path); err != nil {
		t.Fatal(err)
	}
	if tracker.Stats.Lines != 3 {
		t.Errorf("%d lines were read", tracker.Stats.Lines)
	}
}
