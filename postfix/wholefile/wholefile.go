// Package wholefile writes files so that nobody ever sees half of one: under another name in the same
// folder first, then by rename or link.
package wholefile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Options say how a file is written. The zero value makes a file that only its owner may read, which is the
// account that runs us.
type Options struct {
	Mode fs.FileMode // 0 means 0600
	// Owner, if not nil, is the file's user and group; -1 leaves one as it is.
	Owner *[2]int
	// New refuses to replace a file (fs.ErrExist).
	New bool
}

// Write writes a file at path. The folder is to exist.
func Write(path string, o Options, write func(io.Writer) error) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		file.Close()
		if err != nil || o.New {
			os.Remove(file.Name())
		}
	}()
	buffered := bufio.NewWriter(file)
	steps := []func() error{func() error { return write(buffered) }, buffered.Flush}
	if o.Owner != nil {
		steps = append(steps, func() error { return file.Chown(o.Owner[0], o.Owner[1]) })
	}
	if o.Mode != 0 { // after chown, which takes away set-user-ID bits
		steps = append(steps, func() error { return file.Chmod(o.Mode) })
	}
	for _, step := range append(steps, file.Sync, file.Close) {
		if err := step(); err != nil {
			return err
		}
	}
	if !o.New {
		return os.Rename(file.Name(), path)
	}
	if err := os.Link(file.Name(), path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
}

// Content is for Write: it writes what there is.
func Content(content []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	}
}

// Create makes a file that only its owner may read, and never replaces one.
func Create(path string, content []byte) error {
	return Write(path, Options{New: true}, Content(content))
}

// Replace writes a file whose mode stays, 0644 if it is new. Where path is a symbolic link, the file behind
// it is replaced.
func Replace(path string, write func(io.Writer) error) error {
	path, err := behindLink(path)
	if err != nil {
		return err
	}
	o := Options{Mode: 0o644}
	if info, err := os.Stat(path); err == nil {
		if !info.Mode().IsRegular() {
			return errors.New("it is not a regular file")
		}
		o.Mode = info.Mode().Perm()
	}
	return Write(path, o, write)
}

// behindLink gives the file behind a symbolic link; without a link, path itself. The kernel follows the
// link, because it refuses one that a stranger has put into a folder like /tmp (protected_symlinks,
// proc_sys_fs(5)).
func behindLink(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return path, nil
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &fs.PathError{Op: "following the link", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
}
