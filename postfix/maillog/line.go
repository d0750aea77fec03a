package maillog

import (
	"bytes"

	"postmend/filter"
)

// daemon is the program that wrote a line, as far as it matters here.
type daemon int

const (
	someone daemon = iota
	smtpd
	pickup
	qmgr
	bounce
	smtp      // smtp(8)
	lmtp      // lmtp(8)
	pipe      // pipe(8)
	deliverer // local(8), virtual(8), error(8), discard(8)
	postmend
	postsuper
)

// entry is a line of one of the programs above about one message.
type entry struct {
	at     int64
	daemon daemon
	id     []byte // queue id
	text   []byte // what follows "ID: "
	run    *Run   // of a line of postmend's
}

// parse takes a line apart. It is false for lines of other programs, and for those that are not about a
// message.
func (f *framing) parse(line []byte) (e entry, ok bool) {
	l, ok := f.read(line)
	if !ok {
		return e, false
	}
	if bytes.HasPrefix(l.text, []byte("[ID ")) { // of Solaris and illumos: "[ID 197553 mail.info] "
		if end := bytes.Index(l.text, []byte("] ")); end > 0 {
			l.text = l.text[end+2:]
		}
	}
	colon := bytes.IndexByte(l.text, ':')
	if colon < 0 || colon+2 >= len(l.text) || l.text[colon+1] != ' ' || !isQueueID(l.text[:colon]) {
		return e, false
	}
	e = entry{at: l.at, id: l.text[:colon], text: l.text[colon+2:]}
	if e.daemon = daemonOf(l.tag, e.text); e.daemon == someone {
		return e, false
	}
	if e.daemon == postmend {
		if bytes.HasPrefix(e.text, []byte(filter.DoorLog)) { // what the milter found is not a run
			return e, false
		}
		e.run = parseRun(e.text)
	}
	return e, true
}

// daemonOf reads a tag such as "postfix/reinject/smtpd[123]": syslog_name can be anything, the program's
// own name stands last. Some logs have less: rsyslog's form of RFC 5424 "postfix", journalctl -o with-unit
// "postfix@-.service[123]". Then the text tells.
func daemonOf(tag, text []byte) daemon {
	if bracket := bytes.IndexByte(tag, '['); bracket > 0 {
		tag = tag[:bracket]
	}
	slash := bytes.LastIndexByte(tag, '/')
	if slash < 0 {
		switch {
		case string(tag) == "postmend":
			return postmend
		case bytes.HasPrefix(tag, []byte("postfix")):
			return daemonBy(text)
		}
		return someone
	}
	switch string(tag[slash+1:]) {
	case "smtp":
		return smtp
	case "lmtp":
		return lmtp
	case "smtpd", "qmqpd":
		return smtpd
	case "qmgr", "nqmgr", "oqmgr":
		return qmgr
	case "pipe":
		return pipe
	case "local", "virtual", "error", "discard", "retry":
		return deliverer
	case "pickup":
		return pickup
	case "bounce", "defer", "trace":
		return bounce
	case "postsuper":
		return postsuper
	}
	return someone
}

// daemonBy tells a program by what it writes about a message.
func daemonBy(text []byte) daemon {
	switch {
	case bytes.HasPrefix(text, []byte("to=<")):
		return agentBy(text)
	case bytes.HasPrefix(text, []byte("client=")):
		return smtpd
	case bytes.HasPrefix(text, []byte("uid=")):
		return pickup
	case bytes.Equal(text, []byte("removed")):
		return qmgr
	case bytes.HasPrefix(text, []byte("classes=")):
		return postmend
	case bytes.Contains(text, []byte(" notification: ")):
		return bounce
	}
	from, found := bytes.CutPrefix(text, []byte("from="))
	if !found {
		return someone
	}
	if _, rest, ok := cutAddress(from); ok && bytes.HasPrefix(rest, []byte(", ")) {
		return qmgr
	}
	return postmend // which divides by blanks
}

// agentBy tells a delivery agent by its relay: pipe(8) gives the name of its service, local(8) and
// virtual(8) their own.
func agentBy(text []byte) daemon {
	d, ok := parseDelivery(text)
	relay := string(d.relay)
	switch {
	case !ok:
		return someone
	case relay == "local", relay == "virtual":
		return deliverer
	case bytes.Contains(d.relay, []byte("[private/")), bytes.HasSuffix(d.relay, []byte("]:24")):
		return lmtp
	case relay == "none", bytes.IndexByte(d.relay, '[') >= 0:
		return smtp
	}
	return pipe
}

// isQueueID takes Postfix's short ids (hexadecimal digits) and long ones (digits and letters without vowels).
func isQueueID(b []byte) bool {
	if len(b) < 6 || len(b) > maxQueueID {
		return false
	}
	for _, c := range b {
		if !isDigit(c) && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return string(b) != "NOQUEUE" && string(b) != "warning"
}

const maxQueueID = 24

// cutAddress reads "<address>" at the start of text. A quoted local part may hold anything, what looks
// like the rest of a line included.
func cutAddress(text []byte) (address, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '<' {
		return nil, text, false
	}
	from := 1
	if len(text) > 1 && text[1] == '"' {
		for from = 2; from < len(text) && text[from] != '"'; from++ {
			if text[from] == '\\' {
				from++
			}
		}
		if from >= len(text) {
			return nil, text, false
		}
	}
	end := bytes.IndexByte(text[from:], '>')
	if end < 0 {
		return nil, text, false
	}
	return text[1 : from+end], text[from+end+1:], true
}

// delivery is what an agent logs of one recipient.
type delivery struct {
	to, origTo []byte
	relay      []byte
	dsn        []byte
	delays     []byte
	status     []byte
	reason     []byte
}

// parseDelivery reads "to=<…>, orig_to=<…>, relay=…, delays=…, dsn=…, status=… (reason)".
func parseDelivery(text []byte) (d delivery, ok bool) {
	text, ok = bytes.CutPrefix(text, []byte("to="))
	if !ok {
		return d, false
	}
	if d.to, text, ok = cutAddress(text); !ok {
		return d, false
	}
	for {
		if text, ok = bytes.CutPrefix(text, []byte(", ")); !ok {
			return d, false
		}
		equals := bytes.IndexByte(text, '=')
		if equals < 0 {
			return d, false
		}
		name, value := string(text[:equals]), text[equals+1:]
		if name == "status" {
			d.status, d.reason, _ = bytes.Cut(value, []byte(" "))
			d.reason = bytes.TrimSuffix(bytes.TrimPrefix(d.reason, []byte("(")), []byte(")"))
			return d, true
		}
		if name == "orig_to" {
			if d.origTo, text, ok = cutAddress(value); !ok {
				return d, false
			}
			continue
		}
		comma := bytes.IndexByte(value, ',')
		if comma < 0 {
			return d, false
		}
		value, text = value[:comma], value[comma:]
		switch name {
		case "relay":
			d.relay = value
		case "dsn":
			d.dsn = value
		case "delays":
			d.delays = value
		}
	}
}
