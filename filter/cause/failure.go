package cause

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
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
	// Cause names it for the log; 0 is a failure that has no name.
	Cause Cause
	// Code is the enhanced status code (RFC 3463); "" means the kind's default.
	Code string
	// Reason is a text without paths or secrets, because it ends up in bounces. Of a deliberate rejection,
	// it tells a stranger in at most two sentences what is wrong and what to do.
	Reason string
	// Err has the details, for the log; may be nil.
	Err error
}

func (f *Failure) Error() string {
	if f.Err != nil {
		return strings.TrimSuffix(f.Reason, ".") + ": " + f.Err.Error()
	}
	return f.Reason
}

// Status is the text for Postfix: a short one, where the log has the details of our own faults.
func (f *Failure) Status() string {
	if f.Kind == Configuration && f.Err != nil {
		return f.Reason + ", see the mail log"
	}
	return f.Reason
}

// AsReason is the failure as the reason for something else.
func (f *Failure) AsReason() Reason { return Reason{Cause: f.Cause, Text: f.Reason} }

func (f *Failure) Unwrap() error { return f.Err }

// Temporary tells whether the mail stays in the queue.
func (f *Failure) Temporary() bool { return f.Kind <= Usage }

// failures says what a cause means for Postfix: the kind, and the enhanced status code if it is not the
// kind's default. A cause that is not listed is temporary.
var failures = [causeCount]struct {
	kind Kind
	code string
}{
	NoSpace:          {Temporary, "4.3.1"},
	DNSFailed:        {Temporary, "4.4.3"},
	ConfigInvalid:    {Configuration, ""},
	SecretsUnusable:  {Configuration, ""},
	KeyUnusable:      {Configuration, ""},
	AddressesUnknown: {Configuration, ""},
	TableFailed:      {Temporary, "4.3.0"},
	StoreFailed:      {Temporary, "4.3.0"},
	Looping:          {Configuration, ""},
	LoginUnknown:     {Configuration, ""},
	StdoutTarget:     {Configuration, ""},
	FromLine:         {Configuration, ""},
	NoRecipient:      {Usage, ""},
	RecipientEmpty:   {Usage, ""},
	SenderInvalid:    {Policy, "5.1.7"}, // RFC 3463 section 3.2
	RecipientInvalid: {Policy, "5.1.3"},
	SRSMalformed:     {NoSuchUser, ""},
	SRSForged:        {NoSuchUser, ""},
	SRSExpired:       {NoSuchUser, ""},
	SRSUnknown:       {NoSuchUser, ""},
	HeaderTooLong:    {BadMessage, "5.6.0"},
	TooManyClaims:    {BadMessage, "5.6.0"},
	WouldPass:        {Policy, "5.7.1"},
	OwnDomainForged:  {Policy, "5.7.1"},
	DMARCFailed:      {Policy, "5.7.1"},
	NextHopAddress:   {Temporary, "4.1.3"},
	NextHopFailed:    {Temporary, "4.4.1"},
}

// Failure is the failure of this cause. about completes its text; err has the details for the log, if any.
func (c Cause) Failure(err error, about ...any) *Failure {
	f := failures[c]
	return &Failure{Kind: f.kind, Cause: c, Code: f.code, Reason: c.About(about...).Text, Err: err}
}

// DNSTrouble keeps a message in the queue until DNS answers; detail, if any, is for the log.
func DNSTrouble(detail string) *Failure {
	if detail == "" {
		return DNSFailed.Failure(nil)
	}
	return DNSFailed.Failure(errors.New(detail))
}

// AsFailure gives the Failure that err wraps. Any other error is temporary, because an unknown error must not
// bounce mail.
func AsFailure(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return DeadlineExceeded.Failure(err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return NoSpace.Failure(err)
	}
	return UnknownError.Failure(err)
}

// Unsendable rejects an address that is not valid in SMTP. If there are other recipients, the mail is
// deferred, because the rejection would return it for them, too; with postmend_destination_recipient_limit =
// 1, each recipient has a run of its own.
func Unsendable(address Cause, hasOthers bool, err error) *Failure {
	f := address.Failure(err)
	if hasOthers {
		f.Kind, f.Code = Temporary, "4"+f.Code[1:]
	}
	return f
}
