// Package maillog reads Postfix's mail log and follows each message through it: over a content filter, aliases and forwards, to what
// became of each of its recipients. Memory does not grow with the log, whatever is in it.
//
// It knows what Postfix 3.4 to 3.11 logs, and judges nothing: why a receiver refused is for refusal, and what it adds up to for tally.
package maillog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// maxLine is what is looked at of a line, in octets. syslog daemons cut at 1 to 8 KiB, Postfix itself at 2 to 4.
const maxLine = 16 << 10

// bufferSize is of the buffers that files are read through.
const bufferSize = 256 << 10

// Lines gives each line of r without its line end, cut to 16 KiB. The line is valid during the call only.
func Lines(r io.Reader, take func(line []byte)) error {
	buffered := bufio.NewReaderSize(r, bufferSize)
	for {
		line, err := buffered.ReadSlice('\n')
		if len(line) > 0 {
			take(cut(line))
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = buffered.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func cut(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	return line[:min(len(line), maxLine)]
}

// File is a log file.
type File struct {
	Name  string
	Size  int64     // as it is on the disk; 0 if unknown
	Ended time.Time // when it was written to last: no line is much later

	first int64 // time of its first line
	found bool  // whether it has one
}

// Files looks at log files and puts them in order of their first lines, so that it does not matter how rotated ones are named.
// "-" is standard input, and stands last.
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
	clock := clock{latest: f.Ended, zone: zone}
	for range 100 { // journalctl puts a line of its own first
		line, err := reader.ReadSlice('\n')
		if f.first, _, f.found = clock.read(line); f.found || err != nil {
			return nil
		}
	}
	return nil
}

// compressions are those that are not read here, by how they begin.
var compressions = [...]struct{ magic, name, command string }{
	{"\xfd7zXZ\x00", "xz", "xzcat"},
	{"\x28\xb5\x2f\xfd", "zstd", "zstdcat"},
	{"BZh", "bzip2", "bzcat"},
}

// Open gives what is in the file, unpacked if it is gzipped. progress, if not nil, is told how many octets of the file were read.
func (f *File) Open(stdin io.Reader, progress func(int)) (io.ReadCloser, error) {
	file := io.NopCloser(stdin)
	if f.Name != "-" {
		var err error
		if file, err = os.Open(f.Name); err != nil {
			return nil, err
		}
	}
	counted := &countingReader{file, progress}
	buffered := bufio.NewReaderSize(counted, bufferSize)
	start, _ := buffered.Peek(6)
	for _, c := range compressions {
		if bytes.HasPrefix(start, []byte(c.magic)) {
			file.Close()
			return nil, fmt.Errorf("%s is compressed by %s: %s %[1]s | postmend report -", f.Name, c.name, c.command)
		}
	}
	if !bytes.HasPrefix(start, []byte("\x1f\x8b")) {
		return readCloser{buffered, file}, nil
	}
	unpacked, err := gzip.NewReader(buffered)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return readCloser{unpacked, file}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

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
