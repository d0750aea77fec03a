package maillog

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"postmend/filter"
	"postmend/filter/cause"
	"postmend/postfix"
)

// Run is what postmend logged of a run: one pass of one message through the filter. See
// docs/configuration.md.
type Run struct {
	Class      string // forwarded, outgoing, bounce, local or reversed; several are separated by commas
	Sender     string // that the message left with, if it was rewritten
	HeaderFrom string // the domains of From:
	DMARC      string // on arrival
	Policy     string
	NewFrom    string // in a rewritten From:
	Signed     string
	Result     string
	Why        []string // codes of cause.Cause; nil in the lines of versions that had none
	Seconds    float64  // that the run took
	queuedAs   []string
}

// Has tells whether postmend gave a cause, by its code.
func (m *Run) Has(why cause.Cause) bool { return slices.Contains(m.Why, why.Code()) }

// maxValue bounds what is kept of a value, in octets. postmend itself logs at most 512.
const maxValue = 600

// parseRun reads "name=value name="quoted value" …".
func parseRun(text []byte) *Run {
	m := &Run{}
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

// of gives the run's part for the message that was queued as id: a run with several classes queues one
// message for each, in the same order.
func (m *Run) of(id string) *Run {
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

// queuedAs gives the queue ids in a reply: "250 2.0.0 Ok: queued as ID". postmend, which may give several,
// writes "2.0.0 queued as ID ID".
func queuedAs(reason []byte) (ids [][]byte) {
	_, list, found := bytes.Cut(reason, []byte(filter.QueuedAs))
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
