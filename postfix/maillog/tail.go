package maillog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Tail gives a tracker the lines of a log that grows.
type Tail struct {
	Tracker *Tracker
	// CaughtUp is called whenever everything has been read, and at least once a second.
	CaughtUp func()

	partial []byte // a line whose end has not come
	skip    bool   // leave out the rest of an overlong line
}

// maxPartial bounds the line whose end has not come, in octets.
const maxPartial = 1 << 20

func (l *Tail) take(data []byte) {
	l.Tracker.Until(time.Now())
	for len(data) > 0 {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		data = rest
		if !l.skip {
			l.partial = append(l.partial, line...)
		}
		switch {
		case whole:
			if !l.skip {
				l.Tracker.Line(l.partial)
			}
			l.partial, l.skip = l.partial[:0], false
		case len(l.partial) > maxPartial:
			l.Tracker.Line(l.partial)
			l.partial, l.skip = l.partial[:0], true
		}
	}
}

// Stream follows a stream, such as journalctl -f writes, until it ends or ctx does.
func (l *Tail) Stream(ctx context.Context, r io.Reader) error {
	l.CaughtUp() // what comes is new
	chunks, failed := make(chan []byte), make(chan error, 1)
	go func() {
		for {
			buffer := make([]byte, 64<<10)
			n, err := r.Read(buffer)
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
			l.CaughtUp()
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

// File follows a file as tail -F does, until ctx ends: over rotation, when another file takes its name,
// and over truncation.
func (l *Tail) File(ctx context.Context, path string) error {
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
		l.CaughtUp()
		select {
		case <-changes:
		case <-time.After(time.Second): // inotify does not see what other hosts write to a shared file system
		case <-ctx.Done():
			return nil
		}
	}
}

// readOn reads to the end. A file that has become shorter is read from its beginning.
func (l *Tail) readOn(file *os.File) error {
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

// successor opens the file that has taken the place of the one that is read; nil if none has. As long as it
// is empty, the log may still be written to the old one.
func successor(file *os.File, path string) (*os.File, error) {
	now, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) { // between rename and creation
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	old, err := file.Stat()
	if err != nil || os.SameFile(old, now) || now.Size() == 0 {
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
	// A watch on the folder covers the file's successors, too.
	const mask = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_CLOSE_WRITE
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), mask); err != nil {
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
