package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"postmend/filter"
	"postmend/postfix"
	"postmend/postfix/maillog"
	"postmend/postfix/maillog/tally"
)

// writeFiles writes what was asked for beside the report itself.
func (r *reporter) writeFiles(report *tally.Report) error {
	for _, file := range []struct {
		path  string
		write func(io.Writer) error
	}{
		{r.htmlFile, func(w io.Writer) error { return writePage(w, report) }},
		{r.prometheus, func(w io.Writer) error { return writeMetrics(w, r.tally.Totals(), r.tracker.Stats.Last) }},
		{r.strictFile, func(w io.Writer) error { return r.writeStrict(w, report.Strict) }},
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

// replaceFile writes a file by rename, so that whoever reads it sees the old one or the new one, whole. A symbolic link stays, and what it
// leads to is replaced.
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
		func() error { return write(buffered) }, buffered.Flush, func() error { return file.Chmod(mode) }, file.Sync, file.Close,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return os.Rename(file.Name(), path)
}

// linked gives the file that a symbolic link leads to; anything else is that file itself. The kernel follows the link, because it does not
// follow one that a stranger has put into a folder like /tmp (protected_symlinks, proc_sys_fs(5)).
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

// writeStrict keeps what the file has and adds domains: one that is rewritten now is refused no more, and would be missing from a
// file that held today's refusals only.
func (r *reporter) writeStrict(w io.Writer, strict []tally.Strict) error {
	old, err := os.ReadFile(r.strictFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	have := map[string]bool{}
	for line := range strings.Lines(string(old)) {
		have[strings.ToLower(strings.TrimSpace(line))] = true
	}
	if len(old) == 0 {
		old = []byte("# For [dmarc] force_munge_file: domains refused for DMARC although From: was left alone. Written by postmend report; lines stay.\n")
	} else if !bytes.HasSuffix(old, []byte("\n")) {
		old = append(old, '\n')
	}
	if _, err := w.Write(old); err != nil {
		return err
	}
	for _, s := range strict {
		if have[s.Domain] || !filter.IsDomain(s.Domain) {
			continue
		}
		if _, err := fmt.Fprintf(w, "# %s: refused by %s\n%s\n", s.Last.Format("2006-01-02"), postfix.Printable(s.Receiver), s.Domain); err != nil {
			return err
		}
	}
	return nil
}

// writeMetrics writes counters in the text format of Prometheus. Labels take few values, which no log can add to.
func writeMetrics(w io.Writer, totals tally.Totals, last int64) error {
	var text strings.Builder
	metric := func(name, kind, help string) {
		fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %[1]s %[3]s\n", name, help, kind)
	}
	metric("postmend_report_recipients_total", "counter", "Recipients of messages, by kind of message and by what became of them.")
	for _, kind := range maillog.Kinds() {
		c := totals.Kinds[kind]
		for _, outcome := range []struct {
			name string
			n    int64
		}{{"delivered", c.Delivered}, {"refused", c.Refused}, {"discarded", c.Discarded}} {
			fmt.Fprintf(&text, "postmend_report_recipients_total{kind=%q,outcome=%q} %d\n", kind, outcome.name, outcome.n)
		}
	}
	metric("postmend_report_put_off_total", "counter", "Attempts to deliver that were put off, by kind of message.")
	for _, kind := range maillog.Kinds() {
		fmt.Fprintf(&text, "postmend_report_put_off_total{kind=%q} %d\n", kind, totals.Kinds[kind].Attempts)
	}
	metric("postmend_report_refusals_total", "counter", "Forwards that were refused, by class of reason.")
	for _, class := range totals.Classes {
		fmt.Fprintf(&text, "postmend_report_refusals_total{class=%q} %d\n", class.Name, class.Refused)
	}
	metric("postmend_report_filter_seconds", "summary", "Time that messages spent in the filter.")
	fmt.Fprintf(&text, "postmend_report_filter_seconds{quantile=\"0.5\"} %g\npostmend_report_filter_seconds{quantile=\"0.95\"} %g\n", totals.Filter.Median, totals.Filter.P95)
	fmt.Fprintf(&text, "postmend_report_filter_seconds_sum %g\npostmend_report_filter_seconds_count %d\n", totals.FilterSum, totals.Filter.Runs)
	metric("postmend_report_log_seconds", "gauge", "Time of the last line of the log that was read, in Unix seconds.")
	fmt.Fprintf(&text, "postmend_report_log_seconds %d\n", last)
	_, err := io.WriteString(w, text.String())
	return err
}
