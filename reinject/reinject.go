// Package reinject hands a message back to Postfix, or on to a submission server.
//
// It is a client of SMTP (RFC 5321) over TCP, TLS, STARTTLS (RFC 3207) and Unix-domain sockets, and knows
// PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461, RFC
// 6533), AUTH PLAIN and LOGIN (RFC 4954) and Postfix's XFORWARD. It can also run sendmail(1), or write to a
// stream for trials by hand.
//
// It differs from other clients in one way: pipe(8) has one status for all recipients of a message. So it
// brings all transactions to their final dot before it sends the first dot, and one refused recipient ends
// them all.
//
// It does not look up MX records, queue, retry, fold long lines, or recode 8-bit content for a server without
// 8BITMIME. [Error.Temporary] tells which errors bounce. The caller decides which addresses and messages are
// sent.
package reinject

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"time"
)

// Options say where messages go. The zero value is the listener at DefaultTarget.
type Options struct {
	// Target is one of
	//
	//	smtp://HOST:PORT            STARTTLS never for localhost and loopback addresses, otherwise
	//	                            required if User or RootCAs is set, or opportunistic
	//	smtp://HOST:PORT?starttls=  never; opportunistic (RFC 7435: encrypted if the server offers it,
	//	                            not verified); required (encrypted and verified)
	//	smtps://HOST:PORT           TLS from the first octet, verified
	//	unix:/PATH                  SMTP on a Unix-domain socket
	//	sendmail:/PATH              the program, run with -G -i -f SENDER -- RECIPIENT...
	//	stdout:                     the message to Stdout
	Target string
	// User is the name for AUTH; "" means no AUTH. It is sent in clear text only to this host.
	User string
	// Password gives the password. It is called only if the server offers AUTH, and the connection is
	// encrypted or local. Its error is temporary.
	Password func() (string, error)
	// RootCAs gives the certificate authorities that vouch for the server's certificate; nil means the
	// system's. It is called when a certificate is to be verified; its error is temporary. Without
	// verification it would have no effect, so New refuses it then.
	RootCAs func() (*x509.CertPool, error)
	// HELOName is our name in EHLO; "" means the system's host name.
	HELOName string
	// ListenerHELOName is our name in EHLO to a server on this host: loopback or a Unix-domain socket. ""
	// means HELOName.
	ListenerHELOName string
	// KeepIdle is how long a connection is kept for the next message; 0 means that none is. It is for a
	// process that hands over many messages.
	KeepIdle time.Duration
	// SpoolDir is the directory for the unlinked files that sendmail reads; "" means the system's temporary
	// directory.
	SpoolDir string
	// Stdout is where the target stdout: writes; without it, Send fails for that target.
	Stdout io.Writer
}

// Reinjector hands messages to a target. It may be used by several goroutines.
type Reinjector struct {
	name    string // as in Options.Target; never holds a secret
	carrier carrier
}

// carrier hands checked transactions over.
type carrier interface {
	send(ctx context.Context, client Client, commit Commit, txs []checked) ([]Result, error)
}

// Commit is called when only the final dots are missing. Its error ends the hand-over. Its context applies
// from then on: the replies to the dots are worth a longer wait, because to give up means to send the
// message twice. RFC 5321 section 4.5.3.2.6 asks for ten minutes.
type Commit func() (context.Context, error)

// New checks the options. It uses neither network nor files.
func New(options Options) (*Reinjector, error) {
	name := cmp.Or(options.Target, DefaultTarget)
	target, err := ParseTarget(name)
	if err != nil {
		return nil, err
	}
	carrier, err := target.carrier(name, options)
	if err != nil {
		return nil, err
	}
	return &Reinjector{name: name, carrier: carrier}, nil
}

// Client is who brought the message to Postfix, for XFORWARD. An empty value or "unknown" means not known.
type Client struct {
	Name     string // host name
	Address  string // 192.0.2.1, 2001:db8::1 or, as pipe(8) writes it, IPv6:2001:db8::1
	Port     string
	Protocol string // SMTP, ESMTP
	HELO     string
	Ident    string // Postfix's queue id
	// Local says that the message was submitted on this host. Postfix then completes its header, so the
	// zero value is "from elsewhere".
	Local bool
}

// Transaction is one envelope with its content.
type Transaction struct {
	Sender     string // "" is the null sender
	Recipients []Recipient
	EnvelopeID string // ENVID, decoded; "" is none. Sent where DSN is offered.
	Return     string // RET: "FULL" or "HDRS"; "" is not said. Likewise.
	// Content writes the message. Line ends may be LF or CRLF; all CRs before an LF count as part of the
	// line end, as they do for Postfix. A CR elsewhere and NUL pass as they are. It is called once.
	Content io.WriterTo
	// EightBit says that Content has octets over 127.
	EightBit bool
	// UTF8 asks for SMTPUTF8, as a header with such octets needs it. Addresses that need it ask by
	// themselves.
	UTF8 bool
	// Size is roughly the size of Content in octets, for the server to refuse early; 0 is unknown.
	Size int64
}

// Recipient is an address to send to.
type Recipient struct {
	Address string
	// Original is the address before aliases, for ORCPT; "" is unknown. Sent where DSN is offered.
	Original string
	// Notify is when the sender wants to be told: "NEVER", or some of "SUCCESS,FAILURE,DELAY"; "" is not
	// said. Likewise.
	Notify string
}

// Result is what became of one transaction.
type Result struct {
	// QueueID is the server's name for the message; "" if it was not handed over, or the server did not tell.
	QueueID string
	// Warnings are about optional things that the server refused or does not offer.
	Warnings []string
}

// Send hands over all transactions, or none as far as possible.
//
// Each transaction uses a connection of its own, up to SMTP's final dot. Then commit (if not nil) is called
// once; its error is returned as it is, and nothing is handed over. Then the final dots are sent back to
// back, and at last the replies are read.
//
// Other errors are an [*Error]. After the first final dot, some transactions may be handed over in spite of
// an error, even the one that it is about: if the connection is lost before the last reply, nobody knows. A
// retry then sends duplicates, which is better than a loss. With such an error there are results, too, one
// for each transaction; before the final dots they are nil. If several transactions fail, a temporary error
// is preferred.
//
// With sendmail and stdout, transactions follow one after another after commit, and an error leaves the
// earlier ones handed over.
//
// Only ctx limits the time, and after commit its context. The transactions occupy as many processes of the
// server at the same time: if its smtpd allows fewer processes than all filters together need, they wait for
// one another until ctx ends.
func (r *Reinjector) Send(
	ctx context.Context, client Client, commit Commit, txs []Transaction,
) ([]Result, error) {
	if commit == nil {
		commit = func() (context.Context, error) { return ctx, nil }
	}
	ready := make([]checked, len(txs))
	recipients := 0
	for _, tx := range txs {
		recipients += len(tx.Recipients)
	}
	for i, tx := range txs {
		var err error
		if ready[i], err = check(tx); err != nil {
			return nil, r.placed(err, recipients)
		}
	}
	results, err := r.carrier.send(ctx, client, commit, ready)
	return results, r.placed(err, recipients)
}

// Close ends the connections that are kept.
func (r *Reinjector) Close() {
	if t, ok := r.carrier.(*smtpTarget); ok && t.pool != nil {
		t.pool.close()
	}
}

// placed completes an Error with the target, and with the recipient if it is about one of several.
func (r *Reinjector) placed(err error, recipients int) error {
	if e, ok := errors.AsType[*Error](err); ok && e.Target == "" {
		e.Target = r.name
		e.ofOne = e.Stage == stageRCPT && recipients > 1
	}
	return err
}
