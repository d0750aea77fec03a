package filter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"postmend/reinject"
)

// Kind is why a message was not handed back, as far as Postfix has to know.
type Kind int

const (
	// Temporary: a later try may succeed. Every unknown error is of this kind.
	Temporary Kind = iota
	// Configuration: an operator has to correct a file or a permission; the mail is deferred.
	Configuration
	// Usage: the arguments of the command line are wrong; the mail is deferred.
	Usage
	// NoSuchUser, BadMessage and Policy are deliberate rejections; the mail is returned to its sender.
	NoSuchUser
	BadMessage
	Policy
)

// Failure is the end of a run that did not hand its message back.
type Failure struct {
	Kind Kind
	// Code is the enhanced status code (RFC 3463); "" means the kind's default.
	Code string
	// Reason is a short text without paths or secrets: it ends up in bounces.
	Reason string
	// Err has the details, for the log; may be nil.
	Err error
}

func (f *Failure) Error() string {
	if f.Err != nil {
		return f.Reason + ": " + f.Err.Error()
	}
	return f.Reason
}

func (f *Failure) Unwrap() error { return f.Err }

// Temporary tells whether the mail stays in the queue.
func (f *Failure) Temporary() bool { return f.Kind <= Usage }

// AsFailure gives the Failure that err wraps. Any other error is temporary, because an unknown error must not
// bounce mail.
func AsFailure(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return &Failure{Reason: "deadline exceeded", Err: err}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &Failure{Code: "4.3.1", Reason: "no space left for the message", Err: err}
	}
	return &Failure{Reason: "temporary failure", Err: err}
}

// The detail of the status code for a malformed sender and recipient address (RFC 3463 section 3.2).
const (
	senderAddress    = "1.7"
	recipientAddress = "1.3"
)

// unsendable rejects an address that is not valid in SMTP. If there are other recipients, the mail is
// deferred, because the rejection would return it for them, too; with postmend_destination_recipient_limit =
// 1, each recipient has a run of its own.
func unsendable(address string, hasOthers bool, err error) *Failure {
	f := &Failure{Kind: Policy, Code: "5." + address, Reason: "recipient address is not valid in SMTP", Err: err}
	if address == senderAddress {
		f.Reason = "sender address is not valid in SMTP"
	}
	if hasOthers {
		f.Kind, f.Code = Temporary, "4."+address
	}
	return f
}

// handOverFailure says what a failed hand-over means for the message. It is permanent only if the next hop
// rejected this very message.
func handOverFailure(err error) error {
	var refused *reinject.Error
	if !errors.As(err, &refused) {
		return err
	}
	f := &Failure{Kind: Temporary, Err: err}
	switch {
	case refused.Unsendable && refused.Stage == "MAIL":
		return unsendable(senderAddress, refused.Temporary(), err)
	case refused.Unsendable:
		return unsendable(recipientAddress, refused.Temporary(), err)
	case refused.Code != 0:
		f.Code = refused.Enhanced // of another class than the kind's, it is replaced when reported
		f.Reason = fmt.Sprintf("next hop replied at %s: %s", refused.Stage, refused.Text)
	case refused.Address != "":
		f.Code, f.Reason = "4.1.3", fmt.Sprintf("an address is not valid in SMTP (%s)", refused.Stage)
	default:
		f.Code, f.Reason = "4.4.1", "next hop failed at "+refused.Stage
	}
	if !refused.Temporary() {
		f.Kind = Policy
		if len(refused.Enhanced) > 4 && refused.Enhanced[:4] == "5.6." {
			f.Kind = BadMessage
		}
	}
	return f
}
