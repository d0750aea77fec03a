package reinject

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// checked is a transaction whose addresses can be sent as they are.
type checked struct {
	Transaction
	sender     string   // between the angle brackets
	recipients []string // likewise, in the order of Transaction.Recipients
	needsUTF8  bool     // RFC 6531
}

func check(tx Transaction) (checked, error) {
	ready := checked{Transaction: tx, needsUTF8: tx.UTF8}
	if tx.Content == nil {
		return checked{}, &Error{Stage: stageContent, Err: errors.New("transaction without content")}
	}
	if len(tx.Recipients) == 0 {
		return checked{}, &Error{Stage: stageRCPT, Err: errors.New("transaction without recipient")}
	}
	if tx.Sender != "" {
		var err error
		if ready.sender, err = mailbox(tx.Sender); err != nil {
			return checked{}, &Error{Stage: stageMAIL, Address: printable(tx.Sender),
				Unsendable: true, Err: err}
		}
	}
	ready.needsUTF8 = ready.needsUTF8 || !isASCII(ready.sender)
	for i, r := range tx.Recipients {
		recipient, err := mailbox(r.Address)
		if err != nil {
			return checked{}, &Error{Stage: stageRCPT, Address: printable(r.Address),
				Unsendable: true, Err: err, recipient: i}
		}
		ready.recipients = append(ready.recipients, recipient)
		ready.needsUTF8 = ready.needsUTF8 || !isASCII(recipient)
	}
	return ready, nil
}

// isUTF8 tells whether RFC 6531 allows the addresses: it knows no other character set.
func (tx *checked) isUTF8() bool {
	isOdd := func(address string) bool { return !utf8.ValidString(address) }
	return !isOdd(tx.sender) && !slices.ContainsFunc(tx.recipients, isOdd)
}

// command is one line for the server, and what its reply means.
type command struct {
	stage   string
	line    string // without line end
	address string
	index   int // of the recipient, for RCPT
	// optional says that a refusal is a warning.
	optional bool
}

// envelope makes all commands from MAIL to the last RCPT, for a server with these extensions. onHost is set
// if it is on this host.
func (tx *checked) envelope(
	offered map[string]string, onHost bool,
) (commands []command, warnings []string, err error) {
	offers := func(keyword string) bool { _, found := offered[keyword]; return found }

	mail := "MAIL FROM:<" + tx.sender + ">"
	if offers("SIZE") && tx.Size > 0 {
		mail += fmt.Sprintf(" SIZE=%d", tx.Size)
	}
	if tx.EightBit {
		if offers("8BITMIME") {
			mail += " BODY=8BITMIME"
		} else {
			warnings = append(warnings,
				"the server does not offer 8BITMIME; 8-bit content goes there as it is")
		}
	}
	switch {
	case !tx.needsUTF8:
	case offers("SMTPUTF8") && tx.isUTF8():
		mail += " SMTPUTF8"
	case onHost:
		// With smtputf8_enable = no, Postfix accepts 8-bit addresses as they are, in any character set, also
		// on its listener.
		warnings = append(warnings,
			"8-bit addresses or header fields go to the server as they are, without SMTPUTF8")
	case !tx.isUTF8():
		return nil, nil, &Error{Stage: stageMAIL, Address: printable(tx.sender),
			Err: errors.New("an address is neither ASCII nor UTF-8")}
	default:
		return nil, nil, &Error{Stage: stageMAIL, Address: printable(tx.sender),
			Err: errors.New("the message needs SMTPUTF8, which the server does not offer; Postfix does " +
				"with smtputf8_enable = yes")}
	}
	if offers("DSN") {
		mail += envelopeID(tx.EnvelopeID)
		if tx.Return != "" {
			mail += " RET=" + tx.Return
		}
	}
	commands = append(commands, command{stage: stageMAIL, line: mail, address: tx.sender})
	for i, recipient := range tx.recipients {
		rcpt := "RCPT TO:<" + recipient + ">"
		if offers("DSN") {
			rcpt += originalRecipient(tx.Recipients[i].Original)
			if notify := tx.Recipients[i].Notify; notify != "" {
				rcpt += " NOTIFY=" + notify
			}
		}
		commands = append(commands, command{stage: stageRCPT, line: rcpt, address: recipient, index: i})
	}
	return commands, warnings, nil
}

// The limits of RFC 3461 sections 4.2 and 4.4, in octets.
const (
	maxORCPT = 500
	maxENVID = 100
)

// envelopeID is the ENVID parameter. It only helps the sender, so one that cannot be sent is left out.
func envelopeID(id string) string {
	encoded := xtext(id)
	if id == "" || len(encoded) > maxENVID || !isASCII(id) || strings.ContainsFunc(id, isControl) {
		return ""
	}
	return " ENVID=" + encoded
}

// originalRecipient is the ORCPT parameter, or nothing for an address that a status report could not show.
func originalRecipient(address string) string {
	if address == "" || !utf8.ValidString(address) || strings.ContainsFunc(address, isControl) {
		return ""
	}
	parameter := " ORCPT=rfc822;" + xtext(address)
	if !isASCII(address) {
		parameter = " ORCPT=utf-8;" + utf8xtext(address)
	}
	if len(parameter) > maxORCPT {
		return ""
	}
	return parameter
}
