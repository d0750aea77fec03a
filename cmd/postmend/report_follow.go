package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postmend/postfix"
	"postmend/postfix/maillog"
)

// writeEvery is how often the files are written anew while following.
const writeEvery = 15 * time.Second

// follow reads what there is without a word, and then tells of each refusal as it is logged, until a signal ends it. Then, the report.
func (r *reporter) follow(logs []string) error {
	path := logs[len(logs)-1]
	if len(logs) > 1 {
		files, err := maillog.Files(logs[:len(logs)-1], time.Local)
		if err != nil {
			return readable(err)
		}
		if err := r.read(files); err != nil {
			return err
		}
	}
	r.tracker.NextFile(time.Now())
	signalled, done := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer done()
	ctx, stop := context.WithCancelCause(signalled)
	defer stop(nil)
	l := &live{reporter: r, stop: stop}
	var err error
	if path == "-" {
		err = l.followStream(ctx)
	} else {
		err = l.followFile(ctx, path)
	}
	if err != nil {
		return readable(err)
	}
	if signalled.Err() == nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.tracker.Close()
	return r.show()
}

// live is the state of a log that is followed.
type live struct {
	*reporter
	partial []byte // of a line whose end has not come
	skip    bool   // the rest of an overlong one
	written time.Time
	failed  error // of writing files, told once
	stop    context.CancelCauseFunc
}

// take takes what was read.
func (l *live) take(data []byte) {
	l.tracker.Until(time.Now())
	for len(data) > 0 {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		data = rest
		if !l.skip {
			l.partial = append(l.partial, line...)
		}
		switch {
		case whole:
			if !l.skip {
				l.tracker.Line(l.partial)
			}
			l.partial, l.skip = l.partial[:0], false
		case len(l.partial) > 1<<20:
			l.tracker.Line(l.partial)
			l.partial, l.skip = l.partial[:0], true
		}
	}
}

// caughtUp is called whenever everything has been read.
func (l *live) caughtUp() {
	if l.tracker.Refusal == nil {
		l.tracker.Refusal = l.tell
	}
	l.tracker.Idle(time.Now())
	if time.Since(l.written) < writeEvery {
		return
	}
	l.written = time.Now()
	err := l.writeFiles(l.tally.Report(l.tracker.Stats, l.top))
	if err != nil && l.failed == nil {
		fmt.Fprintln(l.inv.stderr, "postmend: "+firstLine(err.Error()))
	}
	l.failed = err
}

// tell prints a line about a refusal.
func (l *live) tell(o *maillog.Outcome) {
	if o.Kind != maillog.Forwarded || l.tally.Since != 0 && o.At < l.tally.Since || l.tally.Until != 0 && o.At >= l.tally.Until {
		return
	}
	verdict := l.tally.Judge(o)
	alias := ""
	if o.Alias != "" {
		alias = " by <" + o.Alias + ">"
	}
	_, err := fmt.Fprintln(l.inv.stdout, postfix.Printable(fmt.Sprintf("%s %s: %s: from <%s> to <%s>%s at %s: %s", time.Unix(o.At, 0).Format(time.DateTime), o.ID,
		l.rules.Classes[verdict.Class].Title, o.Sender, o.Recipient, alias, l.tally.Receiver(o), o.Reason)))
	if err != nil { // nobody reads on
		l.stop(err)
	}
}

// followStream follows standard input, such as journalctl -f.
func (l *live) followStream(ctx context.Context) error {
	l.caughtUp() // what comes is new
	chunks, failed := make(chan []byte), make(chan error, 1)
	go func() {
		for {
			buffer := make([]byte, 64<<10)
			n, err := l.inv.stdin.Read(buffer)
			if n > 0 {
				chunks <- buffer[:n]
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case data := <-chunks:
			l.take(data)
		case <-tick.C:
			l.caughtUp()
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// followFile follows a file as tail -F does: over rotation, when another file takes its name, and over truncation.
func (l *live) followFile(ctx context.Context, path string) error {
	changes, err := watch(ctx, path)
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { file.Close() }()
	for {
		if err := l.readOn(file); err != nil {
			return err
		}
		next, err := successor(file, path)
		if err != nil {
			return err
		}
		if next != nil {
			// Lines may have been written between the last read and the rename.
			if err := l.readOn(file); err != nil {
				return err
			}
			file.Close()
			file, l.partial, l.skip = next, l.partial[:0], false
			continue
		}
		l.caughtUp()
		select {
		case <-changes:
		case <-time.After(time.Second): // inotify sees nothing of what other hosts write to a shared file system
		case <-ctx.Done():
			return nil
		}
	}
}

// readOn reads to the end; of a file that has become shorter, from its beginning.
func (l *live) readOn(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if at, err := file.Seek(0, io.SeekCurrent); err == nil && info.Mode().IsRegular() && info.Size() < at {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		l.partial, l.skip = l.partial[:0], false
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := file.Read(buffer)
		l.take(buffer[:n])
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// successor opens the file that has taken the place of the one that is read; nil if none has.
func successor(file *os.File, path string) (*os.File, error) {
	now, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) { // between rename and creation
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	old, err := file.Stat()
	if err != nil || os.SameFile(old, now) {
		return nil, err
	}
	next, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return next, err
}

// watch tells when something happens to a file or its name.
func watch(ctx context.Context, path string) (<-chan struct{}, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	// The folder's watch covers the file's successors, too.
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE); err != nil {
		events.Close()
		return nil, fmt.Errorf("watching %s: %w", filepath.Dir(path), err)
	}
	changes := make(chan struct{}, 1)
	go func() {
		buffer := make([]byte, 16<<10)
		for {
			if _, err := events.Read(buffer); err != nil {
				return
			}
			select {
			case changes <- struct{}{}:
			default:
			}
		}
	}()
	context.AfterFunc(ctx, func() { events.Close() })
	return changes, nil
}
