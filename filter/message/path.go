package message

import (
	"net"
	"strings"

	"postmend/dkim"
)

// Path is where a message was before a program on this host submitted it, as far as Received: fields tell.
type Path int

// In the order of how much speaks against this host as the author's.
const (
	// NowhereElse: each Received: field is of a program on this host, or of web mail.
	NowhereElse Path = iota
	// ByUser: this host's own server took the message in from a user who logged in.
	ByUser
	// ThroughServer: this host's own server took the message in from another host, or another host of ours
	// did, or some field does not tell who wrote it.
	ThroughServer
	// Elsewhere: another host had the message, and this host's server did not take it in. So a program
	// fetched it (fetchmail, getmail), whether it says so or not.
	Elsewhere
)

// PathOf reads Received: fields from the newest on, which Postfix wrote for the submission. hostname and
// addresses are of this host. A stranger can write fields only below those of the hosts that had the message
// after him: so the first field of another host, or of this host's server for another host, decides. isOurs
// tells whether a host with a name is of our side.
func PathOf(header dkim.Header, hostname string, addresses func() ([]net.Addr, error),
	isOurs func(name string) bool) Path {
	path := NowhereElse
	names := []string{hostname, "localhost"}
	newest := true
	for _, field := range header {
		if !field.Is("Received") {
			continue
		}
		text := receivedText(field)
		by, with, ok := clauses(text)
		if !ok {
			return Elsewhere
		}
		h, isHop := parseHop(text)
		// The newest is Postfix's, unless header_checks have removed that: what Postfix calls itself.
		if newest && (!isHop || h.isLocal(names, addresses)) {
			names = append(names, by)
		}
		newest = false
		switch {
		case hasPrefix(with, "HTTP"): // Roundcube, Horde, SquirrelMail: the browser is no host of the mail's
		case hasPrefix(with, "POP"), hasPrefix(with, "IMAP"):
			return Elsewhere
		case isOneOf(by, names) && by != "":
			if isHop && !h.isLocal(names, addresses) {
				if path == NowhereElse && IsLogin(with) {
					return ByUser
				}
				return ThroughServer
			}
			if !isHop && !isOrigin(text) {
				path = ThroughServer
			}
		case isHop && h.isBare && hasPrefix(with, "LMTP") && isOneOf(h.from, names) &&
			strings.Contains(h.from, "."):
			// what Dovecot calls this host
			if names = append(names, by); len(names) > maxNames {
				return Elsewhere
			}
		case isOurs(by):
			return ThroughServer
		case strings.Contains(strings.TrimSuffix(by, "."), "."):
			return Elsewhere
		default:
			path = ThroughServer
		}
	}
	return path
}

// IsLogin tells whether a protocol in Received: says that the client logged in (RFC 3848, RFC 6531 section
// 4.3).
func IsLogin(protocol string) bool {
	return isOneOf(protocol, []string{"ESMTPA", "ESMTPSA", "UTF8SMTPA", "UTF8SMTPSA"})
}

// maxNames is more than a host has.
const maxNames = 20

// clauses gives the words behind "by" and "with" of a Received: field (RFC 5321 section 4.4); "" if there is
// none. What strangers choose stands before (HELO, of which some servers take any text) and behind "for". It
// is not ok if a comment does not end.
func clauses(received string) (by, with string, ok bool) {
	for rest := strings.TrimLeft(received, " \t"); rest != ""; {
		if rest[0] == '(' {
			_, after, ok := cutComment(rest)
			if !ok {
				return "", "", false
			}
			rest = after
			continue
		}
		var word, value string
		word, rest = firstWord(rest)
		switch {
		case strings.EqualFold(word, "from"):
			_, rest = firstWord(rest) // which a stranger chose
		case strings.EqualFold(word, "for"):
			return by, with, true
		case strings.EqualFold(word, "by"):
			value, rest = firstWord(rest)
			by, with = strings.TrimSuffix(value, ";"), ""
		case strings.EqualFold(word, "with") && with == "":
			value, rest = firstWord(rest)
			with = strings.TrimSuffix(value, ";")
		}
	}
	return by, with, true
}

// isOrigin tells whether a Received: field is as Postfix writes it for what it got from no client, by
// sendmail(1) or from its own bounce(8): by NAME (Postfix, from userid UID) id …, by NAME (Postfix) id ….
func isOrigin(received string) bool {
	word, rest := firstWord(received)
	_, rest = firstWord(rest)
	_, _, ok := cutComment(rest)
	return ok && strings.EqualFold(word, "by")
}

func hasPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
