package plan

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"postmend/filter/cause"
	"postmend/filter/message"
)

// Recipient is one envelope recipient.
type Recipient struct {
	Address string `json:"address"`
	// Original is the address before aliases were expanded; "" if not known.
	Original string `json:"original,omitempty"`
	// Claimed is the original recipient that a client may have made up (ORCPT, RFC 3461 section 4.2). It goes
	// on to the next hop, and nothing else depends on it, except that it may be an SRS address of ours, whose
	// hash proves it.
	Claimed string `json:"-"`
	// Notify is when the sender wants to be told (RFC 3461 section 4.1); "" is not said.
	Notify string `json:"-"`

	route Route // see Policy.Route
}

// Route is where mail to a recipient goes, whoever sent it.
type Route int

const (
	toRemote   Route = iota
	ToLocal          // delivered here
	toOriginal       // it is, or was, an SRS address of ours
)

// Goes tells whether some of the recipients have a route.
func (e *Envelope) Goes(to Route) bool {
	return slices.ContainsFunc(e.Recipients, func(r Recipient) bool { return r.route == to })
}

// IsOnlyLocal tells whether all recipients are delivered here.
func (e *Envelope) IsOnlyLocal() bool { return !e.Goes(toRemote) && !e.Goes(toOriginal) }

// Envelope is what Postfix knows about a message besides its content: the macros of pipe(8). Unknown values
// are empty.
type Envelope struct {
	Sender     string      `json:"sender"` // reverse-path; "" is the null sender
	Recipients []Recipient `json:"recipients"`
	ID         string      `json:"envid,omitempty"` // the DSN envelope id (RFC 3461 section 4.4), decoded
	Return     string      `json:"-"`               // FULL, HDRS (RFC 3461 section 4.3), or ""
	QueueID    string      `json:"queue_id,omitempty"`

	// The SMTP client that brought the message to us, and the login it used.
	ClientAddress  string `json:"client_address,omitempty"` // IP address; IPv6 as "IPv6:2001:db8::1" or bare
	ClientName     string `json:"client_name,omitempty"`
	ClientPort     string `json:"client_port,omitempty"`
	ClientProtocol string `json:"client_protocol,omitempty"` // SMTP, ESMTP
	HELO           string `json:"helo,omitempty"`
	SASLUsername   string `json:"sasl_username,omitempty"`

	// Size is the content's size in the queue file, in octets; 0 if not known. Record overhead and header
	// fields that a milter has deleted are included, so it is only used for a note in the log.
	Size int64 `json:"size,omitempty"`

	// UTF8 is set if the message came with SMTPUTF8, as far as it is told.
	UTF8 bool `json:"-"`

	// LoginInReceived says that only the Received: field that this host wrote for the message tells whether
	// the client logged in: LMTP has nothing else for it.
	LoginInReceived bool `json:"-"`

	// Login is what that field says; by pipe(8), it is read if another filter on this host had the message.
	Login Login `json:"-"`
	// Origin is set for mail of our own side, see Filter.trace.
	Origin *Origin `json:"-"`
	// Recalled is what the milter found about the message; nil if nothing that is believed.
	Recalled *Recalled `json:"-"`
	// AtDoor is set by the milter: nobody trusted has seen the message yet.
	AtDoor bool `json:"-"`
}

// Known maps the two ways in which Postfix writes "not known", nothing and `unknown`, to the empty string.
func Known(value string) string {
	if value == "unknown" {
		return ""
	}
	return value
}

// Check rejects an envelope without recipient, which Postfix never passes, and an address with control
// characters, which Postfix passes but SMTP cannot carry. Only attackers write such addresses, and a later
// try would not help. An original recipient is not needed, so one with control characters is dropped.
func (e *Envelope) Check() error {
	if len(e.Recipients) == 0 {
		return cause.NoRecipient.Failure(nil)
	}
	if i := indexControl(e.Sender); i >= 0 {
		err := fmt.Errorf("sender has a control character (octet %d)", i+1)
		return cause.Unsendable(cause.SenderInvalid, false, err)
	}
	for n, r := range e.Recipients {
		if i := indexControl(r.Address); i >= 0 {
			err := fmt.Errorf("recipient %d has a control character (octet %d)", n+1, i+1)
			return cause.Unsendable(cause.RecipientInvalid, len(e.Recipients) > 1, err)
		}
		if r.Address == "" {
			return cause.RecipientEmpty.Failure(nil, n+1)
		}
		if indexControl(r.Original) >= 0 {
			e.Recipients[n].Original = ""
		}
	}
	return nil
}

func indexControl(s string) int {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// ClientIP is the client's address; ok is false if it is missing or malformed.
func (e *Envelope) ClientIP() (ip netip.Addr, ok bool) {
	ip, err := message.ParseIP(e.ClientAddress)
	return ip, err == nil
}

// IsOurs tells whether the message comes from our own side: a user who logged in, a client in the trusted
// networks, or no client at all, which is how a local submission looks. A client whose address is not known,
// or cannot be read, is a stranger. What a program here sends on, and the seal of its arrival tells so, is
// not ours.
func (p *Policy) IsOurs(e *Envelope) bool {
	if e.Origin != nil {
		return !e.Origin.Outside
	}
	if e.HasLogin() || !e.HasClient() {
		return true
	}
	ip, ok := e.ClientIP()
	if !ok {
		return false
	}
	for _, network := range p.trusted {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}

// isOwnBounce tells whether a bounce was made on this host, as by Postfix when the next hop rejects mail.
func (p *Policy) isOwnBounce(e *Envelope) bool {
	return e.Sender == "" && !e.HasClient() && p.IsOurs(e)
}

// HasLogin tells whether the client logged in.
func (e *Envelope) HasLogin() bool { return e.SASLUsername != "" || e.Login == LoggedIn }

// HasClient tells whether an SMTP client brought the message. For mail from sendmail(1) Postfix gives no
// value at all, or "unknown" for every value if another filter handed the mail back by XFORWARD. For a client
// whose address is unknown, it gives the protocol.
func (e *Envelope) HasClient() bool {
	return e.ClientAddress != "" || e.ClientName != "" || e.ClientPort != "" ||
		e.ClientProtocol != "" || e.HELO != ""
}

// NeedsUTF8 tells whether an address of the envelope can only travel with SMTPUTF8 (RFC 6531 section 3.4).
func (e *Envelope) NeedsUTF8() bool {
	for _, r := range e.Recipients {
		if !isASCII(r.Address) {
			return true
		}
	}
	return !isASCII(e.Sender)
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// Login is what Received: fields tell about the client of a message.
type Login int

const (
	loginNotAsked Login = iota
	LoginUnknown        // this host's own field is not there
	NotLoggedIn
	LoggedIn
)

// Refusal is what becomes of a refusal: no mail is returned, or discarded, for want of a proof that a login
// would have made needless, if it is not known whether there was one. A user's mail waits for the operator.
func (e *Envelope) Refusal(f *cause.Failure) *cause.Failure {
	if e.Login == LoginUnknown && f.Kind == cause.Policy {
		return e.withoutLogin(f)
	}
	return f
}

// Discarded is refusal for what the configuration discards; nil lets it be.
func (e *Envelope) Discarded() error {
	if e.Login == LoginUnknown {
		return e.withoutLogin(nil)
	}
	return nil
}

func (e *Envelope) withoutLogin(otherwise error) *cause.Failure {
	err := fmt.Errorf("no Received: field of this server tells of the client %s, queue id %s: "+
		"let no header_checks remove it, nor smtpd_hide_client_session hide it", e.ClientAddress, e.QueueID)
	return cause.LoginUnknown.Failure(errors.Join(err, otherwise))
}
