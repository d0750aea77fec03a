package lmtp

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// attributes are those of XFORWARD that we know, as Postfix sends them.
var attributes = []string{"NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"}

// parseXforward reads attributes. SOURCE says whether header fields are completed as in mail of this host,
// whoever brought it. Alone, it says that Postfix itself made the message.
func parseXforward(rest string, client *Client) bool {
	words := strings.Fields(rest)
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return false
		}
		if value, ok = fromXtext(value); !ok || strings.ContainsFunc(value, isControl) {
			return false
		}
		if strings.EqualFold(value, "[UNAVAILABLE]") || strings.EqualFold(value, "[TEMPUNAVAIL]") {
			value = ""
		}
		switch strings.ToUpper(name) {
		case "NAME":
			client.Name = value
		case "ADDR":
			client.Address = value
		case "PORT":
			client.Port = value
		case "PROTO":
			client.Protocol = value
		case "HELO":
			client.HELO = value
		case "IDENT":
			client.Ident = value
		case "SOURCE":
			client.isLocal = strings.EqualFold(value, "LOCAL")
		default:
			return false
		}
	}
	return len(words) > 0
}

// parseMail reads what follows MAIL; a code of 0 is success. A parameter that is not understood is our fault
// or the client's, not the sender's: the mail is deferred, where RFC 5321 section 4.1.1.11 has 555.
func parseMail(rest string, env *Envelope) (code int, enhanced, text string) {
	path, parameters, ok := parsePath(rest, "FROM:")
	if !ok {
		return 501, "5.1.7", "syntax: MAIL FROM:<address>"
	}
	env.Sender = path
	for _, word := range parameters {
		name, value, _ := strings.Cut(word, "=")
		switch name = strings.ToUpper(name); name {
		case "SIZE":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 {
				return 451, "4.5.4", "SIZE is not a number"
			}
			env.Size = n
		case "BODY":
			if !slices.Contains([]string{"7BIT", "8BITMIME"}, strings.ToUpper(value)) {
				return 451, "4.5.4", "BODY is neither 7BIT nor 8BITMIME"
			}
		case "SMTPUTF8":
			env.UTF8 = true
		case "RET":
			env.Return = strings.ToUpper(value)
			if env.Return != "FULL" && env.Return != "HDRS" {
				return 451, "4.5.4", "RET is neither FULL nor HDRS"
			}
		case "ENVID":
			id, ok := fromXtext(value)
			if !ok {
				return 451, "4.5.4", "ENVID is not xtext"
			}
			if !strings.ContainsFunc(id, isControl) {
				env.ID = id
			}
		default:
			return 451, "4.5.4", "unknown parameter of MAIL"
		}
	}
	return 0, "", ""
}

// parseRcpt reads what follows RCPT; a code of 0 is success.
func parseRcpt(rest string, r *Recipient) (code int, enhanced, text string) {
	path, parameters, ok := parsePath(rest, "TO:")
	if !ok || path == "" {
		return 501, "5.1.3", "syntax: RCPT TO:<address>"
	}
	r.Address = path
	for _, word := range parameters {
		name, value, _ := strings.Cut(word, "=")
		switch strings.ToUpper(name) {
		case "ORCPT":
			kind, address, ok := strings.Cut(value, ";")
			if !ok {
				return 451, "4.5.4", "ORCPT is not TYPE;ADDRESS"
			}
			r.Original = originalRecipient(kind, address)
		case "NOTIFY":
			if r.Notify = strings.ToUpper(value); !isNotify(r.Notify) {
				return 451, "4.5.4", "NOTIFY is not valid"
			}
		default:
			return 451, "4.5.4", "unknown parameter of RCPT"
		}
	}
	return 0, "", ""
}

// isNotify follows RFC 3461 section 4.1.
func isNotify(value string) bool {
	if value == "NEVER" {
		return true
	}
	words := strings.Split(value, ",")
	for i, word := range words {
		known := word == "SUCCESS" || word == "FAILURE" || word == "DELAY"
		if !known || slices.Contains(words[:i], word) {
			return false
		}
	}
	return true
}

// originalRecipient decodes an address (RFC 3461 section 4.2, RFC 6533 section 3); "" if it is of another
// type or could not be shown.
func originalRecipient(kind, encoded string) string {
	address, ok := fromXtext(encoded)
	switch strings.ToLower(kind) {
	case "rfc822":
	case "utf-8":
		address, ok = fromUTF8Xtext(encoded)
	default:
		return ""
	}
	if !ok || strings.ContainsFunc(address, isControl) || !utf8.ValidString(address) {
		return ""
	}
	return address
}

// maxPath is above what any address has (RFC 5321 section 4.5.3.1.3), in octets.
const maxPath = 1024

// parsePath reads `FROM:<path> parameters`. A source route is not known: RFC 5321 appendix F.2.
func parsePath(rest, keyword string) (path string, parameters []string, ok bool) {
	if len(rest) < len(keyword) || !strings.EqualFold(rest[:len(keyword)], keyword) {
		return "", nil, false
	}
	rest = strings.TrimLeft(rest[len(keyword):], " ")
	if !strings.HasPrefix(rest, "<") {
		return "", nil, false
	}
	quoted := false
	for i := 1; i < len(rest); i++ {
		switch ch := rest[i]; {
		case ch == '\\' && quoted:
			i++
		case ch == '"':
			quoted = !quoted
		case quoted:
		case ch == ' ' || ch == '<':
			return "", nil, false
		case ch == '>':
			after := rest[i+1:]
			if i-1 > maxPath || after != "" && after[0] != ' ' {
				return "", nil, false
			}
			return rest[1:i], strings.Fields(after), true
		}
	}
	return "", nil, false
}

// fromXtext decodes RFC 3461 section 4.
func fromXtext(s string) (string, bool) {
	if !strings.Contains(s, "+") {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '+' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), true
}

// fromUTF8Xtext decodes RFC 6533 section 3: \x{HEX} beside characters that stand for themselves, and xtext,
// which Postfix puts around it.
func fromUTF8Xtext(s string) (string, bool) {
	s, ok := fromXtext(s)
	if !ok {
		return "", false
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, `\x{`)
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		hex, after, closed := strings.Cut(rest, "}")
		n, err := strconv.ParseUint(hex, 16, 21)
		if !closed || err != nil || !utf8.ValidRune(rune(n)) {
			return "", false
		}
		b.WriteRune(rune(n))
		s = after
	}
}
