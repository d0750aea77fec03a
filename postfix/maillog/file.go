package maillog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// File is a log file.
type File struct {
	Name  string
	Size  int64     // as it is on the disk; 0 if unknown
	Ended time.Time // when it was written to last: no line is much later

	first int64 // time of its first line
	found bool  // whether it has one
}

// Files looks at log files and puts them in order of their first lines, so that it does not matter how
// rotated ones are named. "-" is standard input, and stands last.
func Files(names []string, zone *time.Location) ([]File, error) {
	var files []File
	for _, name := range names {
		file := File{Name: name, Ended: time.Now()}
		if name != "-" {
			if err := file.look(zone); err != nil {
				return nil, err
			}
		}
		files = append(files, file)
	}
	slices.SortStableFunc(files, func(a, b File) int {
		switch {
		case a.found && b.found && a.first < b.first, a.found && !b.found:
			return -1
		case a.found && b.found && a.first > b.first, b.found && !a.found:
			return 1
		}
		return 0
	})
	return files, nil
}

func (f *File) look(zone *time.Location) error {
	info, err := os.Stat(f.Name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s is a directory; name its files", f.Name)
	}
	if !info.Mode().IsRegular() { // a pipe's beginning could be read only once
		return nil
	}
	f.Size, f.Ended = info.Size(), info.ModTime()
	r, err := f.Open(nil, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	reader := bufio.NewReaderSize(r, maxLine)
	frame := framing{clock: clock{latest: f.Ended, zone: zone}}
	for range 200 { // journalctl puts a line of its own first, and one form has a record over many lines
		line, err := reader.ReadSlice('\n')
		l, found := frame.read(cut(bytes.TrimSuffix(line, []byte("\n"))))
		if f.first, f.found = l.at, found; found || err != nil {
			return nil
		}
	}
	return nil
}

// unpacker is a program that unpacks what begins with magic. A library would slow the start of postmend
// filter.
type unpacker struct{ magic, ending, program, debian string }

var unpackers = [...]unpacker{
	{"\x1f\x8b", ".gz", "gzip", "gzip"},
	{"\xfd7zXZ\x00", ".xz", "xz", "xz-utils"},
	{"\x28\xb5\x2f\xfd", ".zst", "zstd", "zstd"},
	{"BZh", ".bz2", "bzip2", "bzip2"},
}

// Ending is the ending that logrotate(8) gives to what it compresses; "" if the name has none.
func Ending(name string) string {
	for _, u := range unpackers {
		if strings.HasSuffix(name, u.ending) {
			return u.ending
		}
	}
	return ""
}

// Unreadable tells which program is missing to read a file of that name; "" if none is.
func Unreadable(name string) (program string) {
	for _, u := range unpackers {
		if strings.HasSuffix(name, u.ending) {
			if _, err := exec.LookPath(u.program); err != nil {
				return u.program
			}
		}
	}
	return ""
}

// DefaultFiles gives the logs in a folder by the names of Debian and Red Hat, mail.log and maillog, and
// their rotated predecessors; of a log that is followed, no predecessors. Unreadable are those for which a
// program is missing.
func DefaultFiles(dir string, follow bool) (logs, unreadable []string) {
	for _, name := range []string{"mail.log", "maillog"} {
		path := filepath.Join(dir, name)
		found, _ := filepath.Glob(path + "*")
		for _, log := range found {
			switch rest := log[len(path):]; {
			case follow && rest != "",
				strings.Trim(strings.TrimSuffix(rest, Ending(log)), ".-0123456789") != "":
			case Unreadable(log) != "":
				unreadable = append(unreadable, log)
			default:
				logs = append(logs, log)
			}
		}
		if len(logs)+len(unreadable) > 0 {
			break
		}
	}
	return logs, unreadable
}

// Open gives what is in the file, unpacked if it is compressed. progress, if not nil, is told how many
// octets were read.
func (f *File) Open(stdin io.Reader, progress func(int)) (io.ReadCloser, error) {
	file := io.NopCloser(stdin)
	if f.Name != "-" {
		var err error
		if file, err = os.Open(f.Name); err != nil {
			return nil, err
		}
	}
	buffered := bufio.NewReaderSize(&countingReader{file, progress}, bufferSize)
	unpacked, err := unpack(buffered)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return readClosers{unpacked, unpacked, file}, nil
}

func unpack(packed *bufio.Reader) (io.ReadCloser, error) {
	start, _ := packed.Peek(6)
	for _, u := range unpackers {
		if bytes.HasPrefix(start, []byte(u.magic)) {
			return u.start(packed)
		}
	}
	return io.NopCloser(packed), nil
}

// unpacking is the output of a program that unpacks.
type unpacking struct {
	out      io.ReadCloser
	cmd      *exec.Cmd
	complain bytes.Buffer
	ended    bool
}

func (u *unpacker) start(packed io.Reader) (io.ReadCloser, error) {
	path, err := exec.LookPath(u.program)
	if err != nil {
		return nil, fmt.Errorf("to read it, %s is needed: apt-get install %s", u.program, u.debian)
	}
	p := &unpacking{cmd: exec.Command(path, "-dc")}
	p.cmd.Env, p.cmd.Stdin, p.cmd.Stderr = []string{}, packed, &p.complain
	if p.out, err = p.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	return p, p.cmd.Start()
}

// Read ends with an error if the program does: the file is damaged, and what was read of it is not all.
func (p *unpacking) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	if errors.Is(err, io.EOF) && !p.ended {
		p.ended = true
		if failed := p.cmd.Wait(); failed != nil {
			complaint, _, _ := strings.Cut(p.complain.String(), "\n")
			return n, fmt.Errorf("%s: %w: %s", p.cmd.Path, failed, complaint)
		}
	}
	return n, err
}

func (p *unpacking) Close() error {
	if !p.ended {
		p.ended = true
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
	return nil
}

// readClosers reads from the first, and closes the others.
type readClosers struct {
	io.Reader
	outer, inner io.Closer
}

func (r readClosers) Close() error { return errors.Join(r.outer.Close(), r.inner.Close()) }

type countingReader struct {
	r        io.Reader
	progress func(int)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.progress != nil {
		c.progress(n)
	}
	return n, err
}
