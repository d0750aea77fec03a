package maillog

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"postmend/filter"
	"postmend/postfix"
)

// Mend is what postmend logged of a run; see docs/configuration.md.
type Mend struct {
	Class      string // forwarded, outgoing, bounce, local or reversed; several are divided by commas
	Sender     string // that the message left with, if it is another
	HeaderFrom string // the domains of From:
	DMARC      string // on arrival
	Policy     string
	NewFrom    string // in a rewritten From:
	Signed     string
	Result     string
	Why        []string // codes of filter.Cause; nil in the lines of versions that had none
	Seconds    float64  // that the run took
	queuedAs   []string
}

// Has tells whether postmend gave a cause, by its code.
func (m *Mend) Has(cause filter.Cause) bool { return slices.Contains(m.Why, cause.Code()) }

// maxValue bounds what is kept of a value, in octets. postmend logs no longer ones.
const maxValue = 600

// parseMend reads "name=value name="quoted value" …".
func parseMend(text []byte) *Mend {
	m := &Mend{}
	var counts []string
	rest := string(text)
	for rest != "" {
		name, after, found := strings.Cut(rest, "=")
		if !found {
			break
		}
		var value string
		if strings.HasPrefix(after, `"`) {
			quoted, err := strconv.QuotedPrefix(after)
			if err != nil {
				break
			}
			value, _ = strconv.Unquote(quoted)
			rest = strings.TrimPrefix(after[len(quoted):], " ")
		} else {
			value, rest, _ = strings.Cut(after, " ")
		}
		// Unquoting has brought back what the quotes were for.
		value = postfix.PrintableUTF8(value[:min(len(value), maxValue)])
		switch name {
		case "classes":
			counts = strings.Split(value, ",")
		case "sender":
			m.Sender = strings.Trim(value, "<>")
		case "header_from":
			m.HeaderFrom = strings.ToLower(value)
		case "dmarc":
			m.DMARC = value
		case "policy":
			m.Policy = value
		case "new_from":
			m.NewFrom = strings.Trim(value, "<>")
		case "signed":
			m.Signed = value
		case "result":
			m.Result = value
		case "queued_as":
			m.queuedAs = strings.Split(value, ",")
		case "time":
			m.Seconds, _ = strconv.ParseFloat(strings.TrimSuffix(value, "s"), 64)
		case "why":
			m.Why = strings.Split(value, ",")
		}
	}
	for n, count := range counts {
		counts[n], _, _ = strings.Cut(count, ":")
	}
	m.Class = strings.Join(counts, ",")
	return m
}

// of gives the run as it concerns the message that was queued as id: a run with several classes queues one
// message for each, in order.
func (m *Mend) of(id string) *Mend {
	classes := strings.Split(m.Class, ",")
	if len(classes) == 1 || len(classes) != len(m.queuedAs) {
		return m
	}
	for n, queued := range m.queuedAs {
		if queued == id {
			one := *m
			one.Class = classes[n]
			return &one
		}
	}
	return m
}

// originalSender decodes an SRS address, whoever made it: what stands between the hash and our domain is
// in clear. Others come back as they are.
func originalSender(address string) string {
	local, _, found := cutLast(address, '@')
	local = strings.Trim(local, `"`)
	if !found || len(local) < 5 || !strings.EqualFold(local[:3], "SRS") || !strings.ContainsRune("=+-", rune(local[4])) {
		return address
	}
	switch rest := local[5:]; local[3] {
	case '0': // HASH=STAMP=host=user
		return srs0Sender(rest, address)
	case '1': // HASH=forwarder=, and then what followed SRS0, its separator first
		fields := strings.SplitN(rest, "=", 3)
		if len(fields) == 3 && len(fields[2]) > 1 {
			return srs0Sender(fields[2][1:], address)
		}
	}
	return address
}

func srs0Sender(rest, otherwise string) string {
	fields := strings.SplitN(rest, "=", 4)
	if len(fields) < 4 || fields[2] == "" || fields[3] == "" {
		return otherwise
	}
	return fields[3] + "@" + fields[2]
}

// isSRS tells whether an address has the form of an SRS address.
func isSRS(address string) bool { return originalSender(address) != address }

func cutLast(s string, separator byte) (before, after string, found bool) {
	at := strings.LastIndexByte(s, separator)
	if at < 0 {
		return s, "", false
	}
	return s[:at], s[at+1:], true
}

// Domain is the domain of an address in lower case; "" if there is none.
func Domain(address string) string {
	_, domain, _ := cutLast(address, '@')
	return strings.ToLower(strings.TrimSuffix(domain, "."))
}

// queuedAs gives the queue ids that a reply tells: "250 2.0.0 Ok: queued as ID", and of postmend, which
// may tell several, "2.0.0 queued as ID ID".
func queuedAs(reason []byte) (ids [][]byte) {
	_, list, found := bytes.Cut(reason, []byte("queued as "))
	for found && len(list) > 0 {
		var word []byte
		word, list, _ = bytes.Cut(list, []byte(" "))
		word = bytes.TrimRight(word, ")")
		if !isQueueID(word) {
			break
		}
		ids = append(ids, word)
	}
	return ids
}
