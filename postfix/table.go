package postfix

import (
	"bufio"
	"io"
)

// Table answers one request to a lookup table.
type Table func(key string) Answer

// Answer is what a table says.
type Answer struct {
	Found Finding
	// Text is the value if Found, otherwise a reason, which every client can read.
	Text string
}

// Finding tells whether a table has a value.
type Finding int

const (
	// NotFound: there is no value. smtpd(8) rejects a recipient that is in no table.
	NotFound Finding = iota
	// Found: Text is the value.
	Found
	// TryLater: the table cannot tell now. Postfix defers.
	TryLater
)

// answer asks the table. An empty value counts as not found, because Postfix would log an error or drop a
// recipient.
func (t Table) answer(key string) Answer {
	a := t(key)
	if a.Found == Found && a.Text == "" {
		return Answer{Text: "no value"}
	}
	return a
}

// serve answers requests one after another until there are no more. exchange reads a request and gives the
// reply; if it also returns an error, the reply is the last one. io.EOF is the end of the requests, not an
// error.
func serve(r io.Reader, w io.Writer, exchange func(in *bufio.Reader) ([]byte, error)) error {
	out := bufio.NewWriter(w)
	in := bufio.NewReaderSize(flushFirst{r, out}, maxRequest)
	for {
		reply, err := exchange(in)
		out.Write(reply)
		if err == io.EOF {
			return out.Flush()
		} else if err != nil {
			out.Flush()
			return err
		}
	}
}

// flushFirst sends the buffered replies before it waits for more requests, so that requests that came
// together are answered together.
type flushFirst struct {
	in  io.Reader
	out *bufio.Writer
}

func (f flushFirst) Read(p []byte) (int, error) {
	if err := f.out.Flush(); err != nil {
		return 0, err
	}
	return f.in.Read(p)
}
