// Package postfix implements the interfaces to Postfix: exit status and status line for pipe(8), and the
// protocols of lookup tables.
//
// pipe(8) returns mail to its sender on every non-zero exit status except 71 and 75, unless the command's
// output starts with an enhanced status code (RFC 3463), which then decides. A death by signal defers. So
// each outcome below is an exit status and a line, and only a deliberate rejection has a code of class 5.
package postfix

import (
	"io"
	"strings"
)

// Outcome is how a run ended, as far as pipe(8) has to know.
type Outcome int

const (
	// Delivered: the message was handed back and every final 250 was seen, or it was discarded as configured.
	Delivered Outcome = iota
	// Deferred: next hop, DNS, spool or deadline; the mail stays queued and is tried again.
	Deferred
	// Misconfigured: our configuration, a key or a permission is wrong; the mail stays queued.
	Misconfigured
	// Faulty: our own code is wrong; the mail stays queued.
	Faulty
	// Misused: the words in master.cf's argv are wrong; the mail stays queued.
	Misused
	// BadMessage: rejected because of the message itself.
	BadMessage
	// NoSuchUser: rejected because the recipient does not exist.
	NoSuchUser
	// Refused: rejected by policy or by the next hop.
	Refused
)

// contract is the counterpart of Postfix's sys_exits.c. The exit status is for people and scripts, the code
// for Postfix: if they differ, Postfix uses the code.
var contract = [...]struct {
	exit int    // as in sysexits.h
	code string // the default; another code must have the same class: '2', '4' or '5'
}{
	Delivered:     {0, "2.0.0"},  // EX_OK
	Deferred:      {75, "4.3.0"}, // EX_TEMPFAIL
	Misconfigured: {78, "4.3.5"}, // EX_CONFIG
	Faulty:        {70, "4.3.0"}, // EX_SOFTWARE
	Misused:       {64, "4.3.5"}, // EX_USAGE
	BadMessage:    {65, "5.6.0"}, // EX_DATAERR
	NoSuchUser:    {67, "5.1.1"}, // EX_NOUSER
	Refused:       {69, "5.7.1"}, // EX_UNAVAILABLE
}

// Exit is the outcome's exit status, for commands that are not run by pipe(8).
func (o Outcome) Exit() int { return contract[o].exit }

// The lengths of a status line, its line end included. Postfix logs the first 100 characters of a delivered
// message's output; of any other line, all goes to the log, and into the bounce.
const (
	deliveredLength = 99
	lineLength      = 500
)

// Write writes the status line `code text` to w, in one write, and returns the exit status to leave with.
//
// A code of another class than the outcome's is replaced by the outcome's default, so that no mistake of a
// caller bounces mail; an empty one means the default. The text is cut to the line and reduced to printable
// ASCII.
//
// If the line cannot be written, Postfix uses the exit status: then it is 75, which keeps the mail. After a
// hand-over it stays 0, because anything else would send the message twice.
func (o Outcome) Write(w io.Writer, code, text string) int {
	row := contract[o]
	line := Printable(o.Code(code) + " " + text)
	most := lineLength
	if o == Delivered {
		most = deliveredLength
	}
	line = line[:min(len(line), most-1)]
	if _, err := io.WriteString(w, line+"\n"); err != nil && o != Delivered {
		return contract[Deferred].exit
	}
	return row.exit
}

// Code is the enhanced status code for the outcome: the given one if it is of the outcome's class, else the
// outcome's default.
func (o Outcome) Code(code string) string {
	if row := contract[o]; !isStatusCode(code) || code[0] != row.code[0] {
		return row.code
	}
	return code
}

// isStatusCode tells whether s has the form class.subject.detail of RFC 3463 section 2.
func isStatusCode(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || len(parts[0]) != 1 {
		return false
	}
	for _, part := range parts {
		if len(part) < 1 || len(part) > 3 || strings.Trim(part, "0123456789") != "" {
			return false
		}
	}
	return true
}
