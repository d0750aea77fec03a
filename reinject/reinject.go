// Package reinject hands a message back to Postfix, or on to a submission server.
//
// It is a client of SMTP (RFC 5321) over TCP, TLS, STARTTLS (RFC 3207) and Unix-domain sockets, and knows
// PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461, RFC
// 6533), AUTH PLAIN and LOGIN (RFC 4954) and Postfix's XFORWARD. It can also run sendmail(1), or write to a
// stream for trials by hand.
//
// What sets it apart from other clients: pipe(8) has one status for all recipients of a message, so all
// transactions are taken up to their final dot before the first dot is sent, and one refused recipient ends
// them all.
//
// It does not look up MX records, queue, retry, fold long lines, or recode 8-bit content for a server
// without 8BITMIME. Which errors bounce is said by [Error.Temporary]; what an address or a message ought to
// be is the caller's business.
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
	//	stdout:                     octets to Stdout, nothing else
	Target string
	// User is whom to authenticate as; "" means no AUTH. It is never sent in clear text but to this same
	// host.
	User string
	// Password gives the password; it is called when the server has offered AUTH on a connection that may
	// carry it. Its error is temporary.
	Password func() (string, error)
	// RootCAs gives the certificate authorities that vouch for the server's certificate; nil means the
	// system's. It is called when a certificate is to be verified; its error is temporary. Without
	// verification it would have no effect, so New refuses it then.
	RootCAs func() (*x509.CertPool, error)
	// HELOName is our name in EHLO; "" means the system's host name.
	HELOName string
	// ListenerHELOName takes its place towards a server on this same host: loopback or a Unix-domain
	// socket. "" means HELOName.
	ListenerHELOName string
	// KeepIdle is for how long a connection is kept for the next message; 0 means that none is. It is for a
	// process that hands over many.
	KeepIdle time.Duration
	// SpoolDir is where what sendmail is about to read is kept, in unlinked files; "" means the system's
	// temporary directory.
	SpoolDir string
	// Stdout is where the target stdout: writes to; without it, that target refuses.
	Stdout io.Writer
}

// Reinjector hands messages to a target. It may be used by several goroutines.
type Reinjector struct {
	name    string // as in Options.Target; never holds a secret
	carrier carrier
}

// carrier takes transactions that have been checked.
type carrier interface {
	send(ctx context.Context, client Client, commit Commit, txs []checked) ([]Result, error)
}

// Commit is asked when nothing but the end of the transactions is missing. Its error ends the hand-over.
// Its context takes over from there: it is worth waiting longer for the answers than for anything before,
// because whoever gives up on them sends the message twice. RFC 5321 section 4.5.3.2.6 asks for ten
// minutes.
type Commit func() (context.Context, error)

// New understands the options. It touches neither network nor files.
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
	// Notify is when the sender wants to be told: "NEVER", or some of "SUCCESS,FAILURE,DELAY"; "" is not said.
	// Likewise.
	Notify string
}

// Result is what became of one transaction.
type Result struct {
	// QueueID is the server's name for the message; "" if it was not handed over, or the server did not tell.
	QueueID string
	// Warnings say what the server refused or cannot do that the message can do without.
	Warnings []string
}

// Send hands over all transactions, or none as far as that can be had.
//
// Each transaction is taken to the point where only its end is missing: SMTP's final dot, on a connection
// of its own. Then commit (if not nil) is asked once; its error is returned as it is, with nothing handed
// over. Only then follow the final dots, back to back, and last the replies.
//
// Other errors are an [*Error]. One after the first final dot may leave a part handed over, and even the
// transaction it is about: a connection lost while waiting for the last reply says nothing. A retry then
// duplicates, which is better than a loss. The results, one a transaction, come with such an error too;
// before the final dots they are nil. If several transactions fail, the error is a temporary one if there
// is any.
//
// sendmail and stdout have no such point of waiting: transactions go one after another once commit has
// agreed, and an error leaves the earlier ones handed over.
//
// All of it is bounded by ctx, and after commit by its context, and by nothing else. The transactions
// occupy as many processes of the server at the same time: an smtpd limited to fewer than all filters
// together may ask for makes them wait for one another until ctx ends.
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

// placed tells an Error whose it is, and whether others have part in it.
func (r *Reinjector) placed(err error, recipients int) error {
	if e, ok := errors.AsType[*Error](err); ok && e.Target == "" {
		e.Target = r.name
		e.ofOne = e.Stage == stageRCPT && recipients > 1
	}
	return err
}
