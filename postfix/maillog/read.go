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

// block is a piece of a log: whole lines, and what they say.
type block struct {
	data    []byte
	entries []entry
	lines   int64
}

// blocks is how many are under way: one is read while another is looked at.
const blocks = 3

// Read takes all lines of r. Reading, unpacking and taking lines apart go on beside the following of messages.
func (t *Tracker) Read(r io.Reader) error {
	free, full := make(chan *block, blocks), make(chan *block, blocks)
	for range blocks {
		free <- &block{data: make([]byte, bufferSize)}
	}
	var failure error
	go func() {
		defer close(full)
		failure = t.clock.fill(r, free, full)
	}()
	for b := range full {
		t.Stats.Lines += b.lines
		for n := range b.entries {
			t.take(&b.entries[n])
		}
		free <- b
	}
	return failure
}

// fill reads r block by block.
func (c *clock) fill(r io.Reader, free <-chan *block, full chan<- *block) error {
	var rest []byte // of the line that the last block ended in
	long := false   // whether that line's beginning was taken already
	for {
		b := <-free
		kept := copy(b.data, rest)
		n, err := r.Read(b.data[kept:])
		data := b.data[:kept+n]
		b.entries, b.lines = b.entries[:0], 0
		if long {
			end := bytes.IndexByte(data, '\n')
			long = end < 0
			data = data[end+1:]
			if long {
				data = nil
			}
		}
		end := bytes.LastIndexByte(data, '\n') + 1
		if err != nil || end == 0 && len(data) == len(b.data) {
			long = err == nil
			end = len(data)
		}
		b.takeApart(c, data[:end])
		rest = append(rest[:0], data[end:]...)
		full <- b
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (b *block) takeApart(c *clock, data []byte) {
	for len(data) > 0 {
		var line []byte
		if end := bytes.IndexByte(data, '\n'); end >= 0 {
			line, data = data[:end], data[end+1:]
		} else {
			line, data = data, nil
		}
		b.lines++
		if e, ok := c.parse(cut(line)); ok {
			b.entries = append(b.entries, e)
		}
	}
}

// cut drops what is left of a line end, and what is beyond the length that is looked at.
func cut(line []byte) []byte {
	return bytes.TrimSuffix(line[:min(len(line), maxLine)], []byte("\r"))
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
