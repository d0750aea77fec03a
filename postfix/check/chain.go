package check

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postmend/postfix/postconf"
	"postmend/postfix/setup"
)

// srsProbe is the local part of an SRS address. Only our table verifies its hash; other tables treat all SRS
// addresses alike.
const srsProbe = "SRS0=AAAA=AA=example.com=check@"

// answer is what a list of tables has for an address.
type answer struct {
	table string // that answers; "" for none
	value string
	err   error // a table before that one could not be asked
}

// ask asks the tables of a parameter as smtpd(8) and cleanup(8) do: all for the address, then all but the
// patterns for its domain. A table of ours answers for an SRS address of ours if isValid.
func (h *host) ask(ctx context.Context, parameter, address string, isValid bool) answer {
	_, domain, _ := strings.Cut(address, "@")
	for _, key := range []string{address, "@" + domain} {
		for _, table := range postconf.List(h.Main(parameter)) {
			table = strings.TrimPrefix(table, "proxy:")
			kind, _, _ := strings.Cut(table, ":")
			takesWholeKeys := slices.Contains([]string{"regexp", "pcre", "tcp", "socketmap", "pipemap",
				"unionmap"}, kind)
			switch {
			case h.isReverse(table):
				if isValid && key == address {
					return answer{table: table}
				}
			case key != address && takesWholeKeys:
			default:
				value, found, err := h.config.Lookup(ctx, table, key)
				if err != nil {
					return answer{table: table, err: err}
				}
				if found {
					return answer{table: table, value: value}
				}
			}
		}
	}
	return answer{}
}

// isReverse tells whether an entry of a list of tables leads to `postmend lookup reverse`.
func (h *host) isReverse(entry string) bool {
	return slices.ContainsFunc(entries(entry), func(inner string) bool {
		t := h.tableAt(inner)
		return t != nil && t.direction == "reverse"
	})
}

// judgeOrder finds tables that answer for SRS addresses in the place of ours.
func judgeOrder(h *host) []fault {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var faults []fault
	for _, parameter := range reverseMaps {
		all := postconf.List(h.Main(parameter))
		if !slices.ContainsFunc(all, h.isReverse) {
			continue
		}
		switch valid := h.ask(ctx, parameter, srsProbe+h.SRSDomain, true); {
		case valid.err != nil:
			faults = append(faults, fault{Severity: Note,
				What: fmt.Sprintf("the order of %s is not judged, because %s cannot be asked: %v", parameter,
					valid.table, valid.err)})
			continue
		case !h.isReverse(valid.table):
			faults = append(faults,
				fault{What: fmt.Sprintf("in %s, %s answers for SRS addresses (with %q) before postmend is "+
					"asked", parameter, valid.table, valid.value), Mend: h.oursFirst(parameter)})
			continue
		}
		if forged := h.ask(ctx, parameter, srsProbe+h.SRSDomain, false); forged.value != "" {
			faults = append(faults, fault{Severity: Warning,
				What: fmt.Sprintf("in %s, %s accepts forged SRS addresses (as %q), so postmend is not "+
					"asked: exclude %s from it", parameter, forged.table, forged.value, h.SRSDomain),
				Why: "spam to forged addresses is delivered instead of rejected at RCPT TO"})
		}
	}
	return faults
}

// judgeForged finds an SRS domain for which Postfix takes any address, for other reasons than the order of
// tables.
func judgeForged(h *host) []fault {
	if h.plan == nil || judgeOrder(h) != nil {
		return nil
	}
	if err := h.plan.TakesAnySRSAddress(h.domains); err != nil {
		return one(err.Error(), "")
	}
	return nil
}

// oursFirst is the command that puts our tables in front of the others.
func (h *host) oursFirst(parameter string) string {
	var ours, others []string
	for _, entry := range postconf.List(h.config.Get(parameter)) {
		if h.isReverse(entry) {
			ours = append(ours, entry)
		} else {
			others = append(others, entry)
		}
	}
	if ours == nil { // the value is put together from others
		return ""
	}
	return h.set(parameter, strings.Join(append(ours, others...), ", "))
}

// judgePostmaster asks for postmaster@ the SRS domain: every domain that receives mail has to have it (RFC
// 5321 section 4.5.1).
func judgePostmaster(h *host) []fault {
	address := "postmaster@" + h.SRSDomain
	if !h.lacks(address, h.srsClass) {
		return nil
	}
	hasReverse := func(name string) bool {
		return slices.ContainsFunc(postconf.List(h.Main(name)), h.isReverse)
	}
	if !slices.ContainsFunc(reverseMaps, hasReverse) {
		return nil // that is the greater fault, whose mend sets the same parameter
	}
	alias := "inline:{" + address + "=postmaster}"
	value := alias
	if h.config.IsSet("virtual_alias_maps") {
		value = strings.TrimSuffix(alias+", "+h.config.Get("virtual_alias_maps"), ", ")
	}
	return one(address+" does not exist", h.set("virtual_alias_maps", value))
}

// lacks tells whether no table has an address of a domain of that class.
func (h *host) lacks(address, class string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	parameters := []string{"recipient_canonical_maps", "canonical_maps", "virtual_alias_maps"}
	switch class {
	case "virtual_alias_domains":
	case "virtual_mailbox_domains":
		parameters = append(parameters, "virtual_mailbox_maps")
	default:
		// local_recipient_maps and relay_recipient_maps have rules of their own, and mostly know postmaster
		return false
	}
	for _, parameter := range parameters {
		if found := h.ask(ctx, parameter, address, false); found.table != "" {
			return false // it is there, or nobody can tell
		}
	}
	return true
}

// judgeNewAuthor asks for the address that postmend puts into From: if no alias can stand there.
func judgeNewAuthor(h *host) []fault {
	_, domain, _ := strings.Cut(h.NewAuthor, "@")
	if h.NewAuthor == "" || !h.lacks(h.NewAuthor, h.domains.Class(domain)) {
		return nil
	}
	return []fault{{What: h.NewAuthor + " does not exist: add an alias or a mailbox for it, or name " +
		"another address of yours in from_address of [dmarc]"}}
}

// judgeRewriters finds other programs that rewrite senders: tables that answer with an SRS address. Only
// tables that a program serves are asked.
func judgeRewriters(h *host) []fault {
	var faults []fault
	for _, name := range []string{"sender_canonical_maps", "canonical_maps"} {
		for _, entry := range postconf.List(h.config.Get(name)) {
			if t := h.tableAt(entry); t != nil && t.direction == "forward" || t == nil &&
				h.rewritesSenders(entry) {
				wrong := fault{What: name + " asks " + entry + ", which makes SRS addresses of senders"}
				// else postmend does not yet do what that program does
				if h.isContentFilter() || h.isTransport() {
					wrong.Mend = h.setOrUnset(name, without(h.config.Get(name), entry))
				}
				faults = append(faults, wrong)
			}
		}
	}
	return faults
}

// rewritesSenders tells whether a table answers for a sender with an SRS address. One that nobody serves now
// is judged by the names that the documentation of PostSRSd has.
func (h *host) rewritesSenders(entry string) bool {
	kind, _, _ := strings.Cut(strings.TrimPrefix(entry, "proxy:"), ":")
	if !slices.Contains([]string{"tcp", "socketmap", "unix", "pipemap", "unionmap"}, kind) {
		return false
	}
	if !h.answers(entry) {
		return setup.IsPostSRSd(entry, "forward")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	value, found, err := h.config.Lookup(ctx, strings.TrimPrefix(entry, "proxy:"), "check@sender.example")
	if err != nil {
		return setup.IsPostSRSd(entry, "forward")
	}
	value = strings.ToUpper(value)
	return found && (strings.HasPrefix(value, "SRS0") || strings.HasPrefix(value, "SRS1"))
}

// answers tells whether somebody takes connections for a table. postmap(1) would try for long.
func (h *host) answers(entry string) bool {
	network, address := "tcp", strings.TrimPrefix(entry, "tcp:")
	if where, found := strings.CutPrefix(entry, "socketmap:"); found {
		kind, place, _ := strings.Cut(where, ":")
		address = place[:max(strings.LastIndexByte(place, ':'), 0)]
		if kind == "unix" {
			network = "unix"
			if !filepath.IsAbs(address) {
				address = filepath.Join(h.Main("queue_directory"), address)
			}
		}
	} else if !strings.HasPrefix(entry, "tcp:") {
		return true
	}
	conn, err := net.DialTimeout(network, address, 2*time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
