package reinject

import (
	"bytes"
	"fmt"
	"strings"
)

// The stages of a hand-over, as in Error.Stage.
const (
	stageConnect   = "connect"
	stageTLS       = "TLS"
	stageGreeting  = "greeting"
	stageEHLO      = "EHLO"
	stageSTARTTLS  = "STARTTLS"
	stageAUTH      = "AUTH"
	stageXFORWARD  = "XFORWARD"
	stageMAIL      = "MAIL"
	stageRCPT      = "RCPT"
	stageDATA      = "DATA"
	stageContent   = "content"
	stageEndOfData = "end of data"
	stageSendmail  = "sendmail"
	stageStdout    = "stdout"
)

// Error says at which stage a hand-over ended, and how.
type Error struct {
	// Target is as it was configured.
	Target string
	// Stage is "connect", "TLS", "greeting", "EHLO", "STARTTLS", "AUTH", "XFORWARD", "MAIL", "RCPT",
	// "DATA", "content", "end of data", "sendmail" or "stdout".
	Stage string
	// Code is the server's reply code; 0 if the error was not a reply.
	Code int
	// Enhanced is the server's enhanced status code (RFC 2034), "5.7.1"; "" if it gave none.
	Enhanced string
	// Text is what the server or sendmail said: printable ASCII, at most 200 characters. Empty for AUTH,
	// where a server might repeat what it was sent.
	Text string
	// Address is the sender or recipient that MAIL or RCPT was about, in printable ASCII.
	Address string
	// Unsendable says that Address is not valid in SMTP, so that a later try fails, too.
	Unsendable bool
	// Err is the cause if it was not a reply; may be nil. It can name files, so it is for the log.
	Err error

	// ofOne says that the error is about one of several recipients; recipient is which, in its transaction.
	ofOne     bool
	recipient int
}

// OfOne gives the recipient that an error of RCPT is about, if there are others: its index in
// Transaction.Recipients. Nothing was handed over to any of them.
func (e *Error) OfOne() (index int, ok bool) { return e.recipient, e.ofOne }

// Alone is the error as it would be for that recipient alone.
func (e *Error) Alone() *Error {
	alone := *e
	alone.ofOne = false
	return &alone
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Target != "" {
		b.WriteString(e.Target + ": ")
	}
	b.WriteString(e.Stage)
	if e.Address != "" {
		fmt.Fprintf(&b, " <%s>", e.Address)
	}
	b.WriteString(":")
	if e.Code != 0 {
		fmt.Fprintf(&b, " %d", e.Code)
	}
	for _, s := range []string{e.Enhanced, e.Text} {
		if s != "" {
			b.WriteString(" " + s)
		}
	}
	if e.Stage == stageAUTH && e.Code != 0 {
		b.WriteString(" refused; check user and password")
	}
	if e.Err != nil {
		b.WriteString(" " + e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Temporary tells whether the message should be kept and tried again. That includes everything that may be a
// fault of the configuration or the network: a misconfigured listener answers 5xx to good mail. Only replies
// about this very message are permanent:
//
//	552 5.3.4                 too large (RFC 1870 section 6.1)
//	554 5.4.0 … too many hops a loop, as Postfix says it
//	5xx 5.6.z                 its content or encoding (RFC 3463 section 3.7)
//	550, 554 5.7.1            policy, at the end of data: Postfix's header and body checks
//
// and these only from MAIL on, when the server knows about a message. An address that is not valid in SMTP is
// permanent, too.
//
// An error about one of several recipients is never permanent: the message would be returned for the others,
// too, while a later try may have a run for each of them.
func (e *Error) Temporary() bool {
	switch {
	case e.ofOne:
		return true
	case e.Unsendable:
		return false
	case e.Code < 500:
		return true
	}
	switch e.Stage {
	case stageMAIL, stageRCPT, stageDATA, stageContent, stageEndOfData:
	default:
		return true
	}
	switch {
	case e.Code == 552 && e.Enhanced == "5.3.4",
		e.Code == 554 && e.Enhanced == "5.4.0" && strings.Contains(e.Text, "too many hops"),
		strings.HasPrefix(e.Enhanced, "5.6."),
		(e.Code == 550 || e.Code == 554) && e.Enhanced == "5.7.1" && e.Stage == stageEndOfData:
		return false
	}
	return true
}

// maxText bounds what is quoted of a peer's text, in characters.
const maxText = 200

// printable reduces text from outside to one line of printable ASCII.
func printable[T string | []byte](s T) string {
	b := bytes.TrimSpace([]byte(s[:min(len(s), maxText)]))
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
