// Package syslog writes to the local syslog daemon.
package syslog

import (
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"postmend/postfix"
)

// Severity is RFC 5424's, of section 6.2.1.
type Severity int

// The severities in use.
const (
	Critical Severity = 2
	Error    Severity = 3
	Warning  Severity = 4
	Info     Severity = 6
)

// facilityMail is syslog's facility for mail systems.
const facilityMail = 2

// Log writes to the local syslog daemon in the form that the C library uses, which is the one that its
// socket expects. The standard library's package would add the host's name, and look for the socket at three
// places.
type Log struct {
	Socket string
	Also   io.Writer // gets the text too, if not nil
}

// Write sends one line. If the log cannot be written, mail continues.
func (l Log) Write(s Severity, text string) {
	text = postfix.Printable(text)
	if l.Also != nil {
		fmt.Fprintln(l.Also, text)
	}
	conn, err := net.DialTimeout("unixgram", l.Socket, time.Second)
	if err != nil {
		return
	}
	defer conn.Close()
	// A daemon that does not read must not block us.
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	fmt.Fprintf(conn, "<%d>%s postmend[%d]: %s", facilityMail<<3|int(s), time.Now().Format(time.Stamp),
		os.Getpid(), text)
}
