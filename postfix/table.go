package postfix

import (
	"bufio"
	"io"
)

// Table answers one question of Postfix's to a lookup table.
type Table func(key string) Answer

// Answer is what a table says.
type Answer struct {
	Found Finding
	// Text is the value, or else a reason, which whoever asks can read.
	Text string
}

// Finding tells whether a table has a value.
type Finding int

const (
	// NotFound: there is no value. smtpd(8) refuses a recipient that no table has.
	NotFound Finding = iota
	// Found: Text is the value.
	Found
	// TryLater: the table cannot tell now. Postfix defers.
	TryLater
)

// answer asks the table. An empty value would make Postfix complain, or drop a recipient: it counts as none.
func (t Table) answer(key string) Answer {
	a := t(key)
	if a.Found == Found && a.Text == "" {
		return Answer{Text: "no value"}
	}
	return a
}

// serve answers one request after the other, in their order, until there are no more. exchange reads one
// and gives its reply; with an error, the reply is the last one. io.EOF is where requests end, and no
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

// flushFirst sends the replies before it waits for more requests: those that came together are answered
// together.
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
