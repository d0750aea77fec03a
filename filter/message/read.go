package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"postmend/dkim"
	"postmend/filter/message/author"
)

// maxHeader bounds the header, in octets. Real ones are a hundred times shorter; a longer one is not read,
// and such a message is forwarded as it came.
const maxHeader = 1 << 20

// maxFields bounds its fields: those of three octets would take many times their size.
const maxFields = 100_000

// Message is one message, read to its end. What does not fit into memory waits in a file that has no name
// any more.
type Message struct {
	// Header is the message's header as it stands; nil if Oversized.
	Header dkim.Header
	// Oversized is set if the header does not end within 1 MiB, has more than 100,000 fields, or has too
	// much in From: fields: more than 64 KiB, or 8 KiB that can be read in several ways.
	Oversized bool
	// EightBit is set if an octet has its high bit set.
	EightBit bool
	// LongestLine is the length of the longest line in octets, without its line end.
	LongestLine int

	from    author.Fields
	authors []string       // see Authors
	relaxed *dkim.BodyHash // see RelaxedBody
	folded  *dkim.BodyHash // see FoldedBody
	line    int            // length of the line that is being read
	head    []byte         // the first octets
	file    *os.File       // the octets after head; nil if there are none
	size    int64
	bodyAt  int // where in head the body starts, with the empty line that precedes it, if there is one
}

// Options are how a message is read. The zero value is right where nothing is known of it.
type Options struct {
	// Memory is how many octets stay in memory, at least 1 MiB: a header always does. The rest goes to a
	// file in Dir, "" is the system's temporary directory.
	Memory int64
	Dir    string
	// Small takes Memory as it is, for a process that reads many messages at once; only a header goes beyond.
	Small bool
	// HashBody tells by the header whether FoldedBody will be asked for: then the body is hashed while it
	// is read, and not read again for it. Nil is never.
	HashBody func(header dkim.Header) bool
}

// Read reads a message to its end.
func Read(r io.Reader, options Options) (*Message, error) {
	m := &Message{}
	memory := max(options.Memory, maxHeader)
	if options.Small {
		memory = options.Memory
	}
	err := m.readHead(r, int(memory))
	if memory < maxHeader && int64(len(m.head)) == memory && !m.hasHeader() {
		memory = maxHeader
		err = m.readHead(r, int(memory))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the message: %w", err)
	}
	prefix := m.head[:min(len(m.head), maxHeader)]
	header, n := dkim.SplitHeader(prefix)
	var hash *foldedHash // nil if it is not wanted
	if options.HashBody != nil && len(header) <= maxFields && options.HashBody(header) {
		hash = newFoldedHash()
		hash.write(m.head[n+emptyLine(m.head[n:]):], m)
	}
	if int64(len(m.head)) == memory {
		if err := m.readRest(r, options.Dir, hash); err != nil {
			m.Close()
			return nil, err
		}
	}
	if hash != nil {
		hash.close(m)
	}
	m.from = author.Find(header, prefix[n:])
	// Cut within a line that may be another field.
	isCut := m.size > int64(len(prefix)) && bytes.IndexByte(prefix[n:], '\n') < 0
	if isCut || len(header) > maxFields || m.from.TooLong() {
		m.Oversized, m.from, m.relaxed, m.folded = true, nil, nil, nil
	} else {
		m.Header, m.bodyAt = header, n
	}
	return m, nil
}

// hasHeader tells whether head has an empty line, by all readings of line ends.
func (m *Message) hasHeader() bool {
	first := bytes.IndexByte(m.head, '\n')
	isCRLF := first > 0 && m.head[first-1] == '\r'
	return bytes.Contains(m.head, []byte("\n\n")) || isCRLF && bytes.Contains(m.head, []byte("\n\r\n"))
}

// readHead fills head up to limit octets. It grows by doubling, so that a small message costs little.
func (m *Message) readHead(r io.Reader, limit int) error {
	if m.head == nil {
		m.head = make([]byte, 0, min(32<<10, limit))
	} else {
		m.head = slices.Grow(m.head, min(32<<10, limit-len(m.head)))
		m.head = m.head[:len(m.head):min(cap(m.head), limit)]
	}
	for {
		n, err := r.Read(m.head[len(m.head):cap(m.head)])
		m.head = m.head[:len(m.head)+n]
		m.scan(m.head[len(m.head)-n:])
		m.size = int64(len(m.head))
		if err == io.EOF || len(m.head) == limit {
			return nil
		}
		if err != nil {
			return err
		}
		if len(m.head) == cap(m.head) {
			grown := make([]byte, len(m.head), min(2*cap(m.head), limit))
			copy(grown, m.head)
			m.head = grown
		}
	}
}

func (m *Message) readRest(r io.Reader, dir string, hash *foldedHash) error {
	file, err := unnamedFile(dir)
	if err != nil {
		return fmt.Errorf("spool_dir: %w", err)
	}
	m.file = file
	buffer := make([]byte, 64<<10)
	for {
		n, err := r.Read(buffer)
		if n > 0 {
			m.scan(buffer[:n])
			m.size += int64(n)
			if hash != nil {
				hash.write(buffer[:n], m)
			}
			if _, err := file.Write(buffer[:n]); err != nil {
				return fmt.Errorf("spool_dir: %w", err)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the message: %w", err)
		}
	}
}

// unnamedFile makes a file that is gone as soon as nobody holds it open, however we end.
func unnamedFile(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, "postmend-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// scan notes what the next octets tell of the message. CRs belong to line ends, but for oddities that do
// not matter here.
func (m *Message) scan(b []byte) {
	m.EightBit = m.EightBit || hasEightBit(b)
	for len(b) > 0 {
		if m.line == 0 {
			// No line is the longest that ends within the room of the longest so far: of millions of short
			// ones, few are looked at.
			if end := bytes.LastIndexByte(b[:min(len(b), m.LongestLine+1)], '\n'); end >= 0 {
				b = b[end+1:]
				continue
			}
		}
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		m.line += len(line) - bytes.Count(line, []byte{'\r'})
		m.LongestLine = max(m.LongestLine, m.line)
		if ended {
			m.line = 0
		}
		b = rest
	}
}

// hasEightBit looks at eight octets at a time.
func hasEightBit(b []byte) bool {
	const high = 0x8080808080808080
	for ; len(b) >= 8; b = b[8:] {
		if binary.NativeEndian.Uint64(b)&high != 0 {
			return true
		}
	}
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// Size is the message's size in octets.
func (m *Message) Size() int64 { return m.size }

// LastOctet is the message's last octet. There is one.
func (m *Message) LastOctet() (byte, error) {
	if m.file == nil {
		return m.head[len(m.head)-1], nil
	}
	var last [1]byte
	_, err := m.file.ReadAt(last[:], m.size-int64(len(m.head))-1)
	return last[0], err
}

// HasFromLine tells whether the message starts with the From_ line of an mbox file. In a header field, a
// colon follows the blanks (RFC 5322 section 4.5).
func (m *Message) HasFromLine() bool {
	rest, found := bytes.CutPrefix(m.head, []byte("From "))
	return found && !bytes.HasPrefix(bytes.TrimLeft(rest, " \t"), []byte(":"))
}

// Close releases the spool.
func (m *Message) Close() error {
	if m.file == nil {
		return nil
	}
	return m.file.Close()
}

// writeFrom writes the message's octets from offset on, which lies in the head.
func (m *Message) writeFrom(w io.Writer, offset int) (int64, error) {
	written, err := w.Write(m.head[offset:])
	n := int64(written)
	if err != nil || m.file == nil {
		return n, err
	}
	rest, err := io.Copy(w, io.NewSectionReader(m.file, 0, m.size-int64(len(m.head))))
	return n + rest, err
}

// WriteTo writes the message as it came, octet for octet.
func (m *Message) WriteTo(w io.Writer) (int64, error) { return m.writeFrom(w, 0) }

// WriteBody writes the body without the empty line that precedes it.
func (m *Message) WriteBody(w io.Writer) error {
	_, err := m.writeFrom(w, m.bodyAt+emptyLine(m.head[m.bodyAt:]))
	return err
}

// RelaxedBody is the closed body in relaxed form, hashed once: to sign, it is the same for all deliveries,
// and verifying may have done it.
func (m *Message) RelaxedBody() (*dkim.BodyHash, error) {
	if m.relaxed == nil {
		body := dkim.NewBodyHash(dkim.Relaxed)
		if err := m.WriteBody(body); err != nil {
			return nil, err
		}
		body.Close()
		m.relaxed = body
	}
	return m.relaxed, nil
}

// Verified takes over the closed body in relaxed form from a verifier that has hashed it.
func (m *Message) Verified(body *dkim.BodyHash) { m.relaxed = body }

// HasStrayCR finds a CR within a line, in a header field or in the body.
func (m *Message) HasStrayCR() (bool, error) {
	if slices.ContainsFunc(m.Header, dkim.Field.HasBareCR) {
		return true, nil
	}
	body, err := m.RelaxedBody() // which is wanted for our own signature, too
	if err != nil {
		return false, err
	}
	_, err = body.Sum()
	return errors.Is(err, dkim.ErrUnsignable), nil
}

// emptyLine is the length of the empty line that b starts with, or 0.
func emptyLine(b []byte) int {
	end := bytes.IndexByte(b, '\n')
	if end < 0 || len(bytes.TrimRight(b[:end], "\r")) > 0 {
		return 0
	}
	return end + 1
}
