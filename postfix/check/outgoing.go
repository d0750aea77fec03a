package check

import (
	"fmt"
	"slices"
	"strings"

	"postmend/postfix/postconf"
)

// outgoing are the smtp(8) and lmtp(8) services, which bring mail to the next hop.
func (h *host) outgoing() []*postconf.Service { return h.servicesOf("smtp") }

func judgeLineLength(h *host) []fault {
	var faults []fault
	for _, s := range h.outgoing() {
		value := h.value(s, "smtp_line_length_limit")
		var n int
		if _, err := fmt.Sscan(value, &n); err == nil && n > 0 && n < 998 {
			faults = append(faults,
				fault{What: fmt.Sprintf("%s folds lines of more than %d octets (smtp_line_length_limit)",
					s.ID(), n),
					Mend: h.setWhere(s, "smtp_line_length_limit", "998")})
		}
	}
	return once(faults)
}

// once drops faults that have the same command: one line of main.cf is behind them.
func once(faults []fault) []fault {
	seen := map[string]bool{}
	return slices.DeleteFunc(faults, func(f fault) bool {
		before := seen[f.Mend]
		seen[f.Mend] = true
		return before
	})
}

func judge8bit(h *host) []fault {
	var faults []fault
	for _, s := range h.outgoing() {
		keywords := postconf.List(strings.ToLower(h.value(s, "smtp_discard_ehlo_keywords")))
		if slices.Contains(keywords, "8bitmime") {
			rest := slices.DeleteFunc(keywords, func(keyword string) bool { return keyword == "8bitmime" })
			faults = append(faults, fault{What: s.ID() + " ignores 8BITMIME (smtp_discard_ehlo_keywords)",
				Mend: h.setWhere(s, "smtp_discard_ehlo_keywords", strings.Join(rest, ","))})
		}
	}
	return once(faults)
}

func judgeOutgoing(h *host) []fault {
	var faults []fault
	for _, row := range []struct {
		name     string
		severity Severity
		harm     string
	}{
		{"smtp_generic_maps", Warning, "rewrites addresses after signing, in signed fields too"},
		{"smtp_body_checks", Warning, "may change the body after signing"},
		{"smtp_header_checks", Note, "may change signed fields after signing"},
		{"smtp_mime_header_checks", Note, "may change the body after signing"},
		{"smtp_nested_header_checks", Note, "may change the body after signing"},
	} {
		isSaid := false // of main.cf, for all services
		for _, s := range h.outgoing() {
			_, isOwn := s.Options[row.name]
			if value := h.value(s, row.name); value != "" && (isOwn || !isSaid) {
				isSaid = isSaid || !isOwn
				faults = append(faults, fault{What: fmt.Sprintf("%s = %s of %s %s: use canonical_maps "+
					"or header_checks instead, which apply before the filter", row.name, value, s.ID(),
					row.harm),
					Severity: row.severity})
			}
		}
	}
	return faults
}

// signers are marks of DKIM milters' sockets: names, and the ports of OpenDKIM's and dkimpy-milter's
// documentation.
var signers = []string{"dkim", ":8891", ":8892", ":12301"}

func judgeMilters(h *host) []fault {
	var found []string
	where := map[string][]string{} // by milter
	for _, s := range append(h.fronts(), h.servicesOf("pickup")...) {
		name := map[bool]string{true: "smtpd_milters", false: "non_smtpd_milters"}[s.Program == "smtpd"]
		place := name
		if _, isOwn := s.Options[name]; isOwn {
			place += " of " + s.ID()
		}
		for _, milter := range postconf.List(h.value(s, name)) {
			isSigner := slices.ContainsFunc(signers,
				func(mark string) bool { return strings.Contains(strings.ToLower(milter), mark) })
			if !isSigner || slices.Contains(where[milter], place) {
				continue
			}
			if where[milter] == nil {
				found = append(found, milter)
			}
			where[milter] = append(where[milter], place)
		}
	}
	var faults []fault
	for _, milter := range found {
		faults = append(faults, fault{What: fmt.Sprintf("%s in %s: if it signs, take the signing of your "+
			"domains out of its configuration", milter, strings.Join(where[milter], ", "))})
	}
	return faults
}

func without(value, word string) string {
	isWord := func(w string) bool { return w == word }
	return strings.Join(slices.DeleteFunc(postconf.List(value), isWord), ", ")
}

func judgeSMTPUTF8(h *host) []fault {
	if h.Main("smtputf8_enable") == "yes" || strings.HasPrefix(h.Main("smtputf8_enable"), "$") {
		return nil
	}
	return []fault{{What: "smtputf8_enable is " + h.Main("smtputf8_enable"),
		Mend: h.set("smtputf8_enable", "yes"), Severity: Note}}
}
