// Package outcome says what the end of a run means: to Postfix by a status, and to the log by a severity.
package outcome

import (
	"fmt"
	"runtime/debug"

	"postmend/cmd/postmend/syslog"
	"postmend/filter/cause"
	"postmend/postfix"
)

// Of is the only place that maps our errors to Postfix's contract.
func Of(err error) postfix.Outcome {
	if err == nil {
		return postfix.Delivered
	}
	switch cause.AsFailure(err).Kind {
	case cause.Configuration:
		return postfix.Misconfigured
	case cause.Usage:
		return postfix.Misused
	case cause.NoSuchUser:
		return postfix.NoSuchUser
	case cause.BadMessage:
		return postfix.BadMessage
	case cause.Policy:
		return postfix.Refused
	}
	return postfix.Deferred
}

// Severity is that of the log line about a run that ended with err.
func Severity(err error) syslog.Severity {
	if err == nil {
		return syslog.Info
	}
	switch Of(err) {
	case postfix.Misconfigured, postfix.Misused:
		return syslog.Error
	}
	return syslog.Warning
}

// Misused is a mistake in the arguments.
func Misused(err error) error {
	return &cause.Failure{Kind: cause.Usage, Reason: err.Error()}
}

// Misconfigured is an error that an operator can correct.
func Misconfigured(reason string, err error) error {
	return &cause.Failure{Kind: cause.Configuration, Reason: reason, Err: err}
}

// Fault is a fault in our own code: a panic that was caught.
type Fault struct {
	what  string
	stack []byte
}

// FaultOf makes a Fault of what recover gave, where the stack still is that of the panic.
func FaultOf(recovered any) Fault { return Fault{fmt.Sprint(recovered), debug.Stack()} }

func (f Fault) Error() string { return "internal error: " + f.what }

// LogLine is the line for the log, with the stack.
func (f Fault) LogLine(queueID string) string {
	return fmt.Sprintf("%s: internal error, please report it: %s: %q", queueID, f.what, f.stack)
}
