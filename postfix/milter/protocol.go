package milter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The commands of the MTA, version 6.
const (
	cmdNegotiate  = 'O'
	cmdMacro      = 'D'
	cmdConnect    = 'C'
	cmdHELO       = 'H'
	cmdMail       = 'M'
	cmdRecipient  = 'R'
	cmdData       = 'T'
	cmdHeader     = 'L'
	cmdEndHeader  = 'N'
	cmdBody       = 'B'
	cmdEndBody    = 'E'
	cmdAbort      = 'A'
	cmdQuit       = 'Q'
	cmdQuitReuse  = 'K' // the connection is used for another SMTP client
	cmdUnknownCmd = 'U' // an SMTP command that the MTA does not know
)

// Our answers, and the changes at the end of a message.
const (
	answerContinue  = 'c'
	answerReply     = 'y'
	answerNegotiate = 'O'
	changeInsert    = 'i'
	changeHeader    = 'm' // with an empty value, the field is deleted
)

const (
	version    = 6
	oldVersion = 2 // the oldest that Postfix can be told to speak

	actionAddHeaders    = 0x01
	actionChangeHeaders = 0x10
	actionChooseMacros  = 0x100

	// The MTA is asked not to send what we do not need, and not to wait for answers that are always
	// "continue".
	noUnknown      = 0x100 // SMTP commands that it does not know
	leadingBlank   = 0x100000
	noHeaderReply  = 0x80
	noConnectReply = 0x1000
	noHELOReply    = 0x2000
	noMailReply    = 0x4000
	noRcptReply    = 0x8000
	noDataReply    = 0x10000
	noUnknownReply = 0x20000
	noEndHdrReply  = 0x40000
	noBodyReply    = 0x80000
	wantedSteps    = noUnknown | leadingBlank | noHeaderReply | noConnectReply | noHELOReply | noMailReply |
		noRcptReply | noDataReply | noUnknownReply | noEndHdrReply | noBodyReply
)

// noReply is the bit that says that the MTA does not wait for the answer to a command.
func noReply(command byte) uint32 {
	switch command {
	case cmdConnect:
		return noConnectReply
	case cmdHELO:
		return noHELOReply
	case cmdMail:
		return noMailReply
	case cmdRecipient:
		return noRcptReply
	case cmdData:
		return noDataReply
	case cmdUnknownCmd:
		return noUnknownReply
	case cmdHeader:
		return noHeaderReply
	case cmdEndHeader:
		return noEndHdrReply
	case cmdBody:
		return noBodyReply
	}
	return 0
}

// wantedMacros are asked for by the number of their stage, where the MTA lets a milter choose.
var wantedMacros = [...]struct {
	stage uint32
	names string
}{
	{0, "j {daemon_name} {client_addr}"}, // connect
	{2, "i {auth_authen}"},               // MAIL
	{4, "i {auth_authen}"},               // DATA
	{5, "i {auth_authen}"},               // end of message
	{6, "i {auth_authen}"},               // end of header
}

// maxPacket bounds a packet, in octets. Postfix sends a body in pieces of 64 KiB, and a header field in one
// (header_size_limit, 100 KiB by default).
const maxPacket = 1 << 20

// keptBuffer is how much memory a conversation keeps between packets, in octets.
const keptBuffer = 64<<10 + 16

// ErrProtocol says that the other side does not speak the milter protocol.
var ErrProtocol = errors.New("milter protocol")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// packet is one command. Its data is valid until the next one is read.
type packet struct {
	command byte
	data    []byte
}

// wire reads and writes packets.
type wire struct {
	r      io.Reader
	w      io.Writer
	buffer []byte
	out    []byte // answers that are not written yet
}

func (w *wire) read() (packet, error) {
	var head [5]byte
	if _, err := io.ReadFull(w.r, head[:4]); err != nil {
		return packet{}, err
	}
	length := binary.BigEndian.Uint32(head[:4])
	switch {
	case length == 0:
		return packet{}, malformed("a packet without a command")
	case length > maxPacket:
		return packet{}, malformed("a packet of %d octets", length)
	}
	if _, err := io.ReadFull(w.r, head[4:]); err != nil {
		return packet{}, cutShort(err)
	}
	n := int(length) - 1
	if cap(w.buffer) > keptBuffer && n <= keptBuffer {
		w.buffer = nil
	}
	// Memory grows with what came, not with what was announced.
	w.buffer = w.buffer[:0]
	for len(w.buffer) < n {
		if len(w.buffer) == cap(w.buffer) {
			grown := make([]byte, len(w.buffer), min(max(4<<10, 2*cap(w.buffer)), max(n, 4<<10)))
			copy(grown, w.buffer)
			w.buffer = grown
		}
		part := w.buffer[len(w.buffer):min(n, cap(w.buffer))]
		if _, err := io.ReadFull(w.r, part); err != nil {
			return packet{}, cutShort(err)
		}
		w.buffer = w.buffer[:len(w.buffer)+len(part)]
	}
	return packet{head[4], w.buffer}, nil
}

// cutShort names the end of a connection within a packet.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return malformed("the connection ended within a packet")
	}
	return err
}

// put adds an answer or a change to what flush writes.
func (w *wire) put(code byte, parts ...[]byte) {
	length := 1
	for _, part := range parts {
		length += len(part)
	}
	w.out = binary.BigEndian.AppendUint32(w.out, uint32(length))
	w.out = append(w.out, code)
	for _, part := range parts {
		w.out = append(w.out, part...)
	}
}

func (w *wire) flush() error {
	if len(w.out) == 0 {
		return nil
	}
	_, err := w.w.Write(w.out)
	w.out = w.out[:0]
	return err
}

func number(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

func cString(s string) []byte { return append([]byte(s), 0) }

// cutString cuts off the first string; ok is false if none ends.
func cutString(data []byte) (s string, rest []byte, ok bool) {
	end := bytes.IndexByte(data, 0)
	if end < 0 {
		return "", data, false
	}
	return string(data[:end]), data[end+1:], true
}
