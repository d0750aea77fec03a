package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"postmend/postfix"
)

// severity is syslog's (RFC 5424 section 6.2.1).
type severity int

const (
	severityCritical severity = 2
	severityError    severity = 3
	severityWarning  severity = 4
	severityInfo     severity = 6
)

// facilityMail is syslog's facility for mail systems.
const facilityMail = 2

// syslog writes to the local syslog daemon in the form that the C library uses, which is the one that its
// socket expects. The standard library's package would add the host's name, and look for the socket at three
// places.
type syslog struct {
	socket string
	also   io.Writer // gets the text too, if not nil
}

// write sends one line. If the log cannot be written, mail continues.
func (l syslog) write(s severity, text string) {
	text = postfix.Printable(text)
	if l.also != nil {
		fmt.Fprintln(l.also, text)
	}
	conn, err := net.DialTimeout("unixgram", l.socket, time.Second)
	if err != nil {
		return
	}
	defer conn.Close()
	// A daemon that does not read must not block us.
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	fmt.Fprintf(conn, "<%d>%s postmend[%d]: %s", facilityMail<<3|int(s), time.Now().Format(time.Stamp),
		os.Getpid(), text)
}
