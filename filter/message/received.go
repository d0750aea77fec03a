package message

import (
	"bytes"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"postmend/dkim"
)

// OwnPart is the part of a header that was written on this host, as far as Received: fields tell: all above
// the newest one that is not this host's own. The fields that the message came with from the last host
// stand in it, too, below our own Received: field.
//
// The newest Received: field is Postfix's, which put it on top when it took the message in. The one below
// is ours as well only if the message came from this host itself, by the address that Postfix saw, and if
// it says that a host of our name wrote it: so it is after another filter (amavis), and after Sieve sent
// the message on. A stranger can write our name into a field, but not reach us from our own address; so the
// chain ends with the field for the message's arrival at the latest.
func OwnPart(header dkim.Header, hostname string, addresses func() ([]net.Addr, error)) dkim.Header {
	var newer hop // the Received: field above
	var names []string
	for i, field := range header {
		if !field.Is("Received") {
			continue
		}
		h, ok := parseHop(receivedText(field))
		if names == nil { // the newest: what Postfix calls itself
			names = []string{hostname, "localhost", h.by}
		} else if !ok || !isOneOf(h.by, names) || !newer.isLocal(names, addresses) {
			return header[:i]
		}
		newer = h
	}
	return header
}

// BelowMoves is a header from the newest Received: field on that is not of what Postfix itself did with the
// message: local(8) forwards it by alias(5) or .forward, postsuper -r requeues it.
func BelowMoves(header dkim.Header) dkim.Header {
	for i, field := range header {
		if field.Is("Received") && !isMove(field) {
			return header[i:]
		}
	}
	return nil
}

// isMove knows the field of a move by its fold. What smtpd(8) writes with smtpd_hide_client_session has the
// same words, but no fold before "id"; a stranger may have written all below it.
func isMove(field dkim.Field) bool {
	return OwnQueueID(receivedText(field)) != "" && bytes.Contains(field.Value(), []byte("\n\tid "))
}

// OwnReceived are the values of the Received: fields in that part, unfolded, from the newest on.
func OwnReceived(header dkim.Header, hostname string, addresses func() ([]net.Addr, error)) (list []string) {
	for _, field := range OwnPart(header, hostname, addresses) {
		if field.Is("Received") {
			list = append(list, receivedText(field))
		}
	}
	return list
}

func isOneOf(name string, names []string) bool {
	for _, n := range names {
		if strings.EqualFold(name, n) {
			return true
		}
	}
	return false
}

// hop is what a Received: field says of where the message came from.
type hop struct {
	from    string     // what the client called itself
	address netip.Addr // of the client, as the server saw it
	isBare  bool       // nothing but from: what Dovecot writes for a client on a Unix-domain socket
	by      string
}

// isLocal tells whether a message came from this host itself.
func (h hop) isLocal(names []string, addresses func() ([]net.Addr, error)) bool {
	if !h.address.IsValid() {
		return h.isBare && isOneOf(h.from, names)
	}
	return IsThisHost(h.address, addresses)
}

// IsThisHost tells whether an address is this host's own.
func IsThisHost(ip netip.Addr, addresses func() ([]net.Addr, error)) bool {
	if ip.IsLoopback() {
		return true
	}
	list, _ := addresses()
	for _, a := range list {
		if network, ok := a.(*net.IPNet); ok && network.IP.Equal(ip.AsSlice()) {
			return true
		}
	}
	return false
}

// parseHop reads a Received: field as Postfix, Dovecot and amavis write it: from NAME (NAME [ADDRESS]) (…)
// by NAME. It is not ok for another form, such as that of a message that a program brought to sendmail(1).
func parseHop(received string) (h hop, ok bool) {
	word, rest := firstWord(received)
	if !strings.EqualFold(word, "from") {
		return hop{}, false
	}
	h.from, rest = firstWord(rest)
	h.isBare = !strings.HasPrefix(rest, "(")
	for first := true; strings.HasPrefix(rest, "("); first = false {
		comment, after, ok := cutComment(rest)
		if !ok {
			return hop{}, false
		}
		if first {
			h.address = addressIn(comment)
		}
		rest = after
	}
	word, rest = firstWord(rest)
	h.by, _ = firstWord(rest)
	if !strings.EqualFold(word, "by") || h.by == "" || !h.isBare && !h.address.IsValid() {
		return hop{}, false
	}
	return h, true
}

// Client gives what a Received: field says of the client that brought the message: its name in HELO, and its
// address as the server saw it; the zero values for a field of another form.
func Client(received string) (helo string, address netip.Addr) {
	h, _ := parseHop(received)
	return h.from, h.address
}

// Submission gives queue id and user of a Received: field that pickup(8) wrote for what the sendmail command
// brought: by NAME (Postfix, from userid UID) id QUEUEID.
func Submission(received string) (queueID string, uid int, ok bool) {
	by, rest := firstWord(received)
	_, rest = firstWord(rest)
	comment, rest, ok := cutComment(rest)
	_, user, isUser := strings.Cut(comment, "from userid ")
	uid, err := strconv.Atoi(user)
	id, rest := firstWord(rest)
	queueID, _ = firstWord(rest)
	return strings.TrimSuffix(queueID, ";"), uid, ok && isUser && err == nil && by == "by" && id == "id"
}

// OwnQueueID gives the queue id in a Received: field that cleanup(8) wrote for what Postfix itself has made,
// a bounce for one: by NAME (Postfix) id QUEUEID. It is "" for another form.
func OwnQueueID(received string) string {
	const longest = 40 // octets
	by, rest := firstWord(received)
	_, rest = firstWord(rest)
	_, rest, ok := cutComment(rest)
	keyword, rest := firstWord(rest)
	id, _ := firstWord(rest)
	id = strings.TrimSuffix(id, ";")
	isOther := func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }
	if !ok || by != "by" || keyword != "id" || len(id) > longest || strings.ContainsFunc(id, isOther) {
		return ""
	}
	return id
}

// Protocol gives the protocol and the queue id of a Received: field as Postfix writes it for what a client
// brought: from NAME (NAME [ADDRESS]) (…) by NAME (Postfix) with PROTOCOL id QUEUEID. Both are "" for a
// field of another form. Before a filter that has the message first (smtpd_proxy_filter), there is no queue
// id. What the client says of itself cannot look like a part of it: Postfix replaces blanks and parentheses
// there.
func Protocol(received string) (protocol, queueID string) {
	word, rest := firstWord(received)
	if !strings.EqualFold(word, "from") {
		return "", ""
	}
	_, rest = firstWord(rest)
	for _, keyword := range [...]string{"by", "with"} {
		for strings.HasPrefix(rest, "(") {
			var ok bool
			if _, rest, ok = cutComment(rest); !ok {
				return "", ""
			}
		}
		if word, rest = firstWord(rest); word != keyword {
			return "", ""
		}
		word, rest = firstWord(rest)
	}
	protocol, rest = strings.TrimSuffix(word, ";"), strings.TrimLeft(rest, " \t")
	if word, rest = firstWord(rest); word == "id" {
		queueID, _ = firstWord(rest)
	}
	return protocol, strings.TrimSuffix(queueID, ";")
}

// firstWord cuts off the first word, and the blanks behind it.
func firstWord(s string) (word, rest string) {
	end := strings.IndexAny(s, " \t")
	if end < 0 {
		return s, ""
	}
	return s[:end], strings.TrimLeft(s[end:], " \t")
}

// cutComment cuts off a comment, without its parentheses, and the blanks behind it.
func cutComment(s string) (comment, rest string, ok bool) {
	if !strings.HasPrefix(s, "(") {
		return "", s, false
	}
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return s[1:i], strings.TrimLeft(s[i+1:], " \t"), true
			}
		}
	}
	return "", "", false
}

// addressIn reads the address at the end of "NAME [ADDRESS]"; the zero value if there is none.
func addressIn(comment string) netip.Addr {
	start := strings.LastIndexByte(comment, '[')
	if start < 0 || !strings.HasSuffix(comment, "]") {
		return netip.Addr{}
	}
	address, _ := ParseIP(comment[start+1 : len(comment)-1])
	return address
}

// ParseIP reads an address as Postfix writes it, an IPv6 one as "IPv6:2001:db8::1", or bare.
func ParseIP(text string) (netip.Addr, error) {
	if len(text) > 5 && strings.EqualFold(text[:5], "IPv6:") {
		text = text[5:]
	}
	address, err := netip.ParseAddr(text)
	return address.Unmap(), err
}

// receivedText is the value of a Received: field, unfolded.
func receivedText(field dkim.Field) string {
	value := field.Value()
	return dkim.Unfold(value[:min(len(value), maxReceived)])
}

// maxReceived is more than a Received: field of Postfix's has, in octets.
const maxReceived = 8 << 10
