// Package postfix holds Postfix's side of the bargain: what pipe(8) makes of a command's exit status and
// output.
//
// The rule behind all of it: pipe(8) returns mail to its sender on every non-zero exit status but 71 and
// 75, unless the command's output starts with an enhanced status code (RFC 3463), which then decides. A
// death by signal defers. So each outcome below is an exit status and a line, and only a refusal that was
// meant carries a code of class 5.
package postfix

import (
	"io"
	"strings"
)

// Outcome is how a run ended, in the words of the contract with pipe(8).
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
	// BadMessage: refused on purpose, for what the message is.
	BadMessage
	// NoSuchUser: refused on purpose, for a recipient that does not exist.
	NoSuchUser
	// Refused: refused on purpose, by policy or by the next hop.
	Refused
)

// contract is Postfix's sys_exits.c seen from our side. The exit status says to a person or a script what
// the code says to Postfix; where they differ, Postfix believes the code.
var contract = [...]struct {
	exit int    // as in sysexits.h
	code string // the default; its class, '2', '4' or '5', is binding
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

// lineLength bounds the status line, its line end included: Postfix logs the first 100 characters of a
// delivered message's output.
const lineLength = 99

// Write writes the status line `code text` to w, in one write, and returns the exit status to leave with.
//
// A code that is not of the outcome's class is replaced by the outcome's default, so that no caller can
// bounce by a slip; an empty one means the default. The text is cut to the line and reduced to printable
// ASCII.
//
// When the line cannot be written, Postfix has the exit status alone to go by: then 75 is the only one that
// keeps the mail. After a hand-over it stays 0, because anything else would send the message twice.
func (o Outcome) Write(w io.Writer, code, text string) int {
	row := contract[o]
	if !isStatusCode(code) || code[0] != row.code[0] {
		code = row.code
	}
	line := Printable(code + " " + text)
	if len(line) >= lineLength {
		line = line[:lineLength-1]
	}
	if _, err := io.WriteString(w, line+"\n"); err != nil && o != Delivered {
		return contract[Deferred].exit
	}
	return row.exit
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
