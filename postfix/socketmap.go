package postfix

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// errNotNetstring ends a conversation, because the start of the next request is not known.
var errNotNetstring = errors.New("not a netstring")

// ServeSocketmap speaks the protocol of socketmap_table(5) until r ends. It ignores the name of the map.
//
// The reply to a malformed request is PERM: Postfix logs it and defers. A key that is too long for an
// address is not found.
func ServeSocketmap(r io.Reader, w io.Writer, table Table) error {
	return serve(r, w, func(in *bufio.Reader) ([]byte, error) {
		request, overlong, err := readNetstring(in)
		name, key, isRequest := strings.Cut(request, " ")
		switch {
		case err == io.ErrUnexpectedEOF:
			return netstring("TEMP request cut short"), io.EOF
		case err == errNotNetstring:
			return netstring("PERM not a netstring"), err
		case err != nil:
			return nil, err
		case overlong:
			return netstring("NOTFOUND key too long"), nil
		case !isRequest || name == "":
			return netstring("PERM not a request of socketmap_table(5)"), nil
		}
		return socketmapReply(table.answer(key)), nil
	})
}

func socketmapReply(a Answer) []byte {
	switch a.Found {
	case Found:
		return netstring("OK " + a.Text)
	case NotFound:
		return netstring("NOTFOUND " + a.Text)
	}
	return netstring("TEMP " + a.Text)
}

func netstring(s string) []byte { return fmt.Appendf(nil, "%d:%s,", len(s), s) }

// readNetstring reads LENGTH:TEXT, and skips a text that is longer than a request may be. It gives io.EOF
// before the first octet, io.ErrUnexpectedEOF after it.
func readNetstring(in *bufio.Reader) (text string, overlong bool, err error) {
	length, err := readLength(in)
	if err != nil {
		return "", false, err
	}
	if overlong = length > maxRequest; overlong {
		_, err = in.Discard(length)
	} else {
		buffer := make([]byte, length)
		_, err = io.ReadFull(in, buffer)
		text = string(buffer)
	}
	if err != nil {
		return "", false, midway(err)
	}
	if end, err := in.ReadByte(); err != nil {
		return "", false, midway(err)
	} else if end != ',' {
		return "", false, errNotNetstring
	}
	return text, overlong, nil
}

// readLength reads LENGTH and the colon.
func readLength(in *bufio.Reader) (int, error) {
	const maxDigits = 9
	length := 0
	for digits := 0; ; digits++ {
		c, err := in.ReadByte()
		switch {
		case err != nil && digits == 0:
			return 0, err
		case err != nil:
			return 0, midway(err)
		case c == ':' && digits > 0:
			return length, nil
		case c < '0' || c > '9' || digits == maxDigits:
			return 0, errNotNetstring
		}
		length = 10*length + int(c-'0')
	}
}

func midway(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
