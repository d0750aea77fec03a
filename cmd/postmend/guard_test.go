package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestOurCallerIsGoneIfAnotherTookItsPlaceOrNobodyReadsWhatWeSay(t *testing.T) {
	pipe := func(read bool) *os.File {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if !read {
			reader.Close()
		}
		t.Cleanup(func() {
			reader.Close()
			writer.Close()
		})
		return writer
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, row := range map[string]struct {
		then, now int
		queueID   string
		stdout    any
		want      bool
	}{
		"pipe(8) lives":                        {10, 10, "4ABC", pipe(true), false},
		"died meanwhile":                       {10, 1, "4ABC", pipe(true), true},
		"died meanwhile, an orphanage took us": {10, 7, "4ABC", pipe(true), true},
		"died before we asked":                 {1, 1, "4ABC", pipe(true), true},
		"died, an orphanage took us before":    {7, 7, "4ABC", pipe(false), true},
		"standard output is closed":            {10, 10, "4ABC", null, false},
		"by hand in a container":               {1, 1, "", pipe(true), false},
		"by hand in a container, unread":       {1, 1, "", pipe(false), false},
		"by hand, from outside the container":  {0, 0, "", pipe(true), false},
		"by hand, whose shell was ended":       {10, 1, "", pipe(true), true},
	} {
		if got := isForsaken(row.then, row.now, row.queueID, row.stdout); got != row.want {
			t.Errorf("%s: forsaken %v", name, got)
		}
	}
}

func TestWhatNobodyWaitsForIsNotHandedOver(t *testing.T) {
	w := newWorld(t)
	reader, writer, err := os.Pipe()
	w.check(err)
	reader.Close()
	defer writer.Close()
	var errs bytes.Buffer
	exit := run([]string{"filter", "-c", w.config, "-f", "a@b.example", "--queue-id=4ABC", "--",
		"x@example.org"}, strings.NewReader(aMessage), writer, &errs)
	if exit != 75 || errs.String() != "4.3.0 the process that started postmend has ended\n" {
		t.Errorf("exit %d, %q", exit, errs.String())
	}
}

// slowListener replies to the final dot when the time is up; it tells whether the client has waited for it.
func slowListener(t *testing.T, timeIsUp <-chan time.Time) (address string, waited <-chan bool) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	told := make(chan bool, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "220 mail.example.net\r\n")
		in := bufio.NewReader(conn)
		for {
			switch line, err := in.ReadString('\n'); {
			case err != nil:
				return
			case line == "DATA\r\n":
				fmt.Fprint(conn, "354 go on\r\n")
			case line == ".\r\n":
				<-timeIsUp
				fmt.Fprint(conn, "250 2.0.0 Ok: queued as 4F1Zz0\r\n")
				bye, _ := in.ReadString('\n')
				told <- bye == "QUIT\r\n"
				return
			case strings.HasPrefix(line, "EHLO "), strings.HasPrefix(line, "MAIL "),
				strings.HasPrefix(line, "RCPT "):
				fmt.Fprint(conn, "250 ok\r\n")
			}
		}
	}()
	return listener.Addr().String(), told
}

// RFC 5321 section 4.5.3.2.6: the reply to the final dot is waited for longer than anything else, or each
// retry makes a duplicate.
func TestTheReplyToTheDotMayTakeLongerThanTheDeadline(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const deadline = 2 * time.Second
	address, waited := slowListener(t, time.After(deadline+2*grace))
	w := newWorld(t, `"10s"`, fmt.Sprintf("%q", deadline), "stdout:", "smtp://"+address)
	exit, out, _ := w.run(aMessage, "filter", "-f", "a@b.example", "--", "x@example.org")
	if exit != 0 || !strings.HasPrefix(out, "2.0.0 queued as 4F1Zz0") || !<-waited {
		t.Errorf("exit %d, %q", exit, out)
	}
}
