package check

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"postmend/postfix/postconf"
	"postmend/postfix/setup"
)

// arrivalRules judge what the seals of arrival need, by which mail that Sieve and the like send on is
// mended.
var arrivalRules = []rule[*host]{
	{"arrival-secrets", Warning, "", "mail that Sieve, procmail and the like send on is not mended, and a " +
		"forgery of a domain of yours among it can leave with your signature", judgeSealSecrets},
	{"arrival-header-checks", Warning, "", "mail that Sieve, procmail and the like send on is not " +
		"mended: it is not known where it came from", judgeSealChecks},
	{"arrival-rewriting", Note, "", "mail that Sieve, procmail and the like send on counts as changed " +
		"if an address in its header is rewritten: it is not signed, and its From: is not rewritten",
		judgeSealRewriting},
	{"arrival-transport", Note, "",
		"mail that Sieve, procmail and the like send on counts as this host's own",
		judgeSealTransport},
}

func judgeSealSecrets(h *host) []fault {
	if !h.Seals || h.HasSecrets {
		return nil
	}
	return one("[srs] has no secrets_file, which X-Postmend-Arrival is sealed with: set it, or seal = false "+
		"in [arrival]", "")
}

// judgeSealRewriting finds maps that change addresses in the header of what a program on this host submits. A
// table of ours changes SRS addresses only.
func judgeSealRewriting(h *host) []fault {
	if !h.Seals {
		return nil
	}
	var faults []fault
	for _, row := range []struct{ maps, classes string }{
		{"canonical_maps", "canonical_classes"},
		{"sender_canonical_maps", "sender_canonical_classes"},
		{"recipient_canonical_maps", "recipient_canonical_classes"},
		{"masquerade_domains", "masquerade_classes"},
	} {
		all := postconf.List(h.Main(row.classes))
		envelope := slices.DeleteFunc(slices.Clone(all), func(class string) bool {
			return strings.HasPrefix(class, "header_")
		})
		isOther := func(entry string) bool {
			return !h.isReverse(entry) && !setup.IsPostSRSd(entry, "reverse")
		}
		tables := postconf.List(h.Main(row.maps))
		if len(envelope) == len(all) || !slices.ContainsFunc(tables, isOther) {
			continue
		}
		faults = append(faults, fault{What: fmt.Sprintf("%s = %s rewrites addresses in the header "+
			"(%s = %s); if that is not needed, set %s = %s", row.maps, strings.Join(tables, " "),
			row.classes, strings.Join(all, ", "), row.classes, strings.Join(envelope, ", "))})
	}
	const option, most = "header_address_token_limit", 10240
	if n, err := strconv.Atoi(h.Main(option)); err == nil && n < most {
		faults = append(faults, fault{What: fmt.Sprintf("%s is %d: Postfix cuts longer address fields "+
			"off; its default is %d", option, n, most)})
	}
	return faults
}

func judgeSealTransport(h *host) []fault {
	if !h.Seals || !h.isTransport() || h.isContentFilter() || h.milter() != nil {
		return nil
	}
	return one("in transport mode without the milter nothing passes postmend when it arrives, so no "+
		"mail gets X-Postmend-Arrival: see docs/milter.md", "")
}

func judgeSealChecks(h *host) []fault {
	var faults []fault
	for _, strips := range h.sealStrippers {
		faults = append(faults, fault{What: strips +
			": put a line /^X-Postmend-Arrival:/ DUNNO above the pattern that removes it"})
	}
	return faults
}

// aSeal is a field as header_checks(5) sees it.
const aSeal = "X-Postmend-Arrival: v=1; t=1764331327; i=192.0.2.1; f=alice@example.com; r=bob@example.org"

// askHeaderChecks asks which tables take a seal out of a message that is delivered here or sent on.
func (h *host) askHeaderChecks(ctx context.Context) {
	if !h.Seals || h.filter == nil {
		return
	}
	ask := func(name, value string) {
		for _, table := range postconf.List(value) {
			answer, found, err := h.config.Lookup(ctx, table, aSeal)
			action, _, _ := strings.Cut(strings.ToUpper(answer), " ")
			takes := slices.Contains([]string{"IGNORE", "STRIP", "REPLACE", "REJECT", "DISCARD", "BOUNCE"},
				action)
			says := fmt.Sprintf("%s: %s answers %s for X-Postmend-Arrival", name, table, action)
			if err == nil && found && takes && !slices.Contains(h.sealStrippers, says) {
				h.sealStrippers = append(h.sealStrippers, says)
			}
		}
	}
	for _, s := range h.servicesOf("cleanup") {
		ask("header_checks", h.value(s, "header_checks"))
	}
	for _, s := range h.servicesOf("lmtp") {
		ask("lmtp_header_checks", h.value(s, "lmtp_header_checks"))
	}
}
