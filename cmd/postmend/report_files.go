package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"postmend/filter"
	"postmend/postfix/maillog/present"
	"postmend/postfix/maillog/tally"
)

// writeFiles writes what was asked for beside the report itself.
func (r *reporter) writeFiles(report *tally.Report) error {
	for _, file := range []struct {
		path  string
		write func(io.Writer) error
	}{
		{r.htmlFile, func(w io.Writer) error { return present.Page(w, report, version) }},
		{r.prometheus, func(w io.Writer) error {
			return present.Metrics(w, r.tally.Totals(), r.tracker.Stats.Last)
		}},
		{r.strictFile, func(w io.Writer) error { return r.writeDomains(w, report.Strict) }},
	} {
		if file.path == "" {
			continue
		}
		if err := replaceFile(file.path, file.write); err != nil {
			return &filter.Failure{Kind: filter.Configuration, Reason: file.path + " cannot be written", Err: err}
		}
	}
	return nil
}

// writeDomains writes the list of domains, with what it has now.
func (r *reporter) writeDomains(w io.Writer, domains []tally.Strict) error {
	old, err := os.ReadFile(r.strictFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return present.DomainList(w, old, domains)
}

// replaceFile writes a file by rename, so that a reader sees the whole old file or the whole new one.
// Where path is a symbolic link, the file behind it is replaced.
func replaceFile(path string, write func(io.Writer) error) (err error) {
	if path, err = linked(path); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		if !info.Mode().IsRegular() {
			return errors.New("it is not a regular file")
		}
		mode = info.Mode().Perm()
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		file.Close()
		if err != nil {
			os.Remove(file.Name())
		}
	}()
	buffered := bufio.NewWriter(file)
	for _, step := range []func() error{
		func() error { return write(buffered) },
		buffered.Flush,
		func() error { return file.Chmod(mode) },
		file.Sync,
		file.Close,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return os.Rename(file.Name(), path)
}

// linked gives the file behind a symbolic link; without a link, path itself. The kernel follows the link,
// because it refuses one that a stranger has put into a folder like /tmp (protected_symlinks,
// proc_sys_fs(5)).
func linked(path string) (string, error) {
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
