package maillog

import "bytes"

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
	mend   *Mend  // of a line of postmend's
}

// parse takes a line apart. What is not about a message, or of another program, is not ok.
func (c *clock) parse(line []byte) (e entry, ok bool) {
	at, rest, ok := c.read(line)
	if !ok {
		return e, false
	}
	blank := bytes.IndexByte(rest, ' ')
	if blank < 0 {
		return e, false
	}
	e.at, rest = at, rest[blank+1:] // the host does not matter: postlogd(8) and syslog daemons name it differently
	colon := bytes.IndexByte(rest, ':')
	if colon < 0 || colon+2 >= len(rest) || rest[colon+1] != ' ' {
		return e, false
	}
	if e.daemon = daemonOf(rest[:colon]); e.daemon == someone {
		return e, false
	}
	rest = rest[colon+2:]
	colon = bytes.IndexByte(rest, ':')
	if colon < 0 || colon+2 >= len(rest) || rest[colon+1] != ' ' || !isQueueID(rest[:colon]) {
		return e, false
	}
	e.id, e.text = rest[:colon], rest[colon+2:]
	if e.daemon == postmend {
		e.mend = parseMend(e.text)
	}
	return e, true
}

// daemonOf reads a tag such as "postfix/reinject/smtpd[123]": syslog_name can be anything, the program's own name stands last.
func daemonOf(tag []byte) daemon {
	if bracket := bytes.IndexByte(tag, '['); bracket > 0 {
		tag = tag[:bracket]
	}
	slash := bytes.LastIndexByte(tag, '/')
	if slash < 0 {
		if string(tag) == "postmend" {
			return postmend
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

// cutAddress reads "<address>" at the start of text. A quoted local part may hold anything, what looks like the rest of a line included.
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
