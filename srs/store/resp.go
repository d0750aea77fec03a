package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The protocol of Valkey and Redis, RESP version 2, as far as it is needed. The client libraries take longer
// to start than a message takes here.

// reply is what a server answered: a text, a list, or nothing.
type reply struct {
	text string
	list []reply
	null bool
}

// errServer is what a server says about itself.
type errServer struct{ text string }

func (e errServer) Error() string { return fmt.Sprintf("the server replied %+.200q", e.text) }

var errProtocol = errors.New("this is not a server of Valkey or Redis")

// The largest replies that are read, in octets, elements and levels: INFO has some thousand octets, and a
// thousand entries a few hundred thousand.
const (
	maxText   = 64 << 10
	maxOctets = 8 << 20 // of all texts of a reply
	maxList   = 10_000  // of all lists of a reply
	maxLevels = 3
)

// writeCommand writes a command as a list of texts.
func writeCommand(w *bufio.Writer, words ...string) {
	fmt.Fprintf(w, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(w, "$%d\r\n%s\r\n", len(word), word)
	}
}

// readReply reads one reply; one that is an error is an errServer.
func readReply(r *bufio.Reader, levels int) (reply, error) {
	return (&replyReader{r, maxOctets, maxList}).read(levels)
}

// replyReader reads one reply, of which a server cannot make it keep more than the limits.
type replyReader struct {
	*bufio.Reader
	octets, elements int // that are still allowed
}

func (r *replyReader) read(levels int) (reply, error) {
	line, err := readLine(r.Reader)
	if err != nil {
		return reply{}, err
	}
	if r.octets -= len(line); line == "" || r.octets < 0 {
		return reply{}, errProtocol
	}
	switch rest := line[1:]; line[0] {
	case '+', ':':
		return reply{text: rest}, nil
	case '-':
		return reply{}, errServer{rest}
	case '$':
		return r.readText(rest)
	case '*':
		return r.readList(rest, levels)
	}
	return reply{}, errProtocol
}

// readLine reads a line of at most the reader's buffer.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", errProtocol
	case err == io.EOF:
		return "", io.ErrUnexpectedEOF
	case err != nil:
		return "", err
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok {
		return "", errProtocol
	}
	return text, nil
}

func (r *replyReader) readText(length string) (reply, error) {
	n, err := strconv.Atoi(length)
	switch {
	case length == "-1":
		return reply{null: true}, nil
	case err != nil || n < 0 || n > min(maxText, r.octets):
		return reply{}, errProtocol
	}
	r.octets -= n
	text := make([]byte, n+len("\r\n"))
	if _, err := io.ReadFull(r, text); err == io.EOF {
		return reply{}, io.ErrUnexpectedEOF
	} else if err != nil {
		return reply{}, err
	}
	if string(text[n:]) != "\r\n" {
		return reply{}, errProtocol
	}
	return reply{text: string(text[:n])}, nil
}

func (r *replyReader) readList(length string, levels int) (reply, error) {
	n, err := strconv.Atoi(length)
	switch {
	case length == "-1":
		return reply{null: true}, nil
	case err != nil || n < 0 || n > r.elements || levels == 0:
		return reply{}, errProtocol
	}
	r.elements -= n
	var list []reply
	for range n {
		element, err := r.read(levels - 1)
		if err != nil {
			return reply{}, err
		}
		list = append(list, element)
	}
	return reply{list: list}, nil
}
