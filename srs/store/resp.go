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

// The largest replies that are read, in octets, elements and levels: INFO has some thousand octets.
const (
	maxReply  = 64 << 10
	maxList   = 10_000
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
	line, err := readLine(r)
	if err != nil {
		return reply{}, err
	}
	if line == "" {
		return reply{}, errProtocol
	}
	switch rest := line[1:]; line[0] {
	case '+', ':':
		return reply{text: rest}, nil
	case '-':
		return reply{}, errServer{rest}
	case '$':
		return readText(r, rest)
	case '*':
		return readList(r, rest, levels)
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

func readText(r *bufio.Reader, length string) (reply, error) {
	n, err := strconv.Atoi(length)
	switch {
	case length == "-1":
		return reply{null: true}, nil
	case err != nil || n < 0 || n > maxReply:
		return reply{}, errProtocol
	}
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

func readList(r *bufio.Reader, length string, levels int) (reply, error) {
	n, err := strconv.Atoi(length)
	switch {
	case length == "-1":
		return reply{null: true}, nil
	case err != nil || n < 0 || n > maxList || levels == 0:
		return reply{}, errProtocol
	}
	var list []reply
	for range n {
		element, err := readReply(r, levels-1)
		if err != nil {
			return reply{}, err
		}
		list = append(list, element)
	}
	return reply{list: list}, nil
}
