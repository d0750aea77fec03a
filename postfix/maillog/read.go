// Package maillog reads Postfix's mail log and follows each message through it: over a content filter,
// aliases and forwards, to what became of each of its recipients. Memory does not grow with the log,
// whatever is in it.
//
// It knows what Postfix 3.4 to 3.11 logs, and judges nothing: why a receiver refused is for refusal, and
// what it adds up to for tally.
package maillog

import (
	"bytes"
	"errors"
	"io"
)

// maxLine is how much of a line is read, in octets. syslog daemons cut lines at 1 to 8 KiB, Postfix at 2
// to 4 KiB.
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

// Read takes all lines of r. Reading and parsing run beside the following of messages.
func (t *Tracker) Read(r io.Reader) error {
	free, full := make(chan *block, blocks), make(chan *block, blocks)
	for range blocks {
		free <- &block{data: make([]byte, bufferSize)}
	}
	var failure error
	go func() {
		defer close(full)
		failure = t.frame.fill(r, free, full)
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
func (f *framing) fill(r io.Reader, free <-chan *block, full chan<- *block) error {
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
		b.takeApart(f, data[:end])
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

func (b *block) takeApart(f *framing, data []byte) {
	for len(data) > 0 {
		var line []byte
		if end := bytes.IndexByte(data, '\n'); end >= 0 {
			line, data = data[:end], data[end+1:]
		} else {
			line, data = data, nil
		}
		b.lines++
		if e, ok := f.parse(cut(line)); ok {
			b.entries = append(b.entries, e)
		}
	}
}

// cut removes what is left of a line end, and what exceeds maxLine.
func cut(line []byte) []byte {
	return bytes.TrimSuffix(line[:min(len(line), maxLine)], []byte("\r"))
}
