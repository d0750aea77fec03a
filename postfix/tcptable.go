package postfix

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// maxRequest is the longest request and reply of tcp_table(5), in octets, the line end included. Addresses
// are far shorter.
const maxRequest = 4096

// ServeTCP speaks the protocol of tcp_table(5) until r ends.
//
// The reply to a malformed request is "try later", because it says nothing about an address. A key that is
// too long for an address is not found.
func ServeTCP(r io.Reader, w io.Writer, table Table) error {
	return serve(r, w, func(in *bufio.Reader) ([]byte, error) {
		line, err := in.ReadSlice('\n')
		isGet, overlong := bytes.HasPrefix(line, []byte("get ")), false
		for errors.Is(err, bufio.ErrBufferFull) {
			overlong = true
			_, err = in.ReadSlice('\n')
		}
		switch {
		case err == io.EOF && len(line) > 0:
			return tcpReply(Answer{TryLater, "request cut short"}), err
		case err != nil:
			return nil, err
		case overlong && isGet:
			return tcpReply(Answer{NotFound, "key too long"}), nil
		case overlong:
			return tcpReply(Answer{TryLater, "request too long"}), nil
		}
		return tcpReply(tcpAnswer(string(line), table)), nil
	})
}

func tcpAnswer(line string, table Table) Answer {
	verb, coded, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	key, err := url.PathUnescape(coded)
	switch {
	case verb == "put":
		return Answer{NotFound, "this table cannot be changed"} // tcp_table(5): 500 rejects an update
	case verb != "get":
		return Answer{TryLater, "not a request of tcp_table(5)"}
	case err != nil:
		return Answer{TryLater, "wrong %XX in the key"}
	}
	return table.answer(key)
}

func tcpReply(a Answer) []byte {
	code := map[Finding]string{Found: "200 ", NotFound: "500 "}[a.Found]
	if code == "" {
		code = "400 "
	}
	reply := []byte(code)
	for _, c := range []byte(a.Text) {
		if c <= ' ' || c > '~' || c == '%' {
			reply = fmt.Appendf(reply, "%%%02X", c)
		} else {
			reply = append(reply, c)
		}
	}
	if len(reply) >= maxRequest {
		return tcpReply(Answer{TryLater, "value too long"})
	}
	return append(reply, '\n')
}
