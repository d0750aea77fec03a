package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"postmend/postfix/postconf"
)

// arrivalRules judge what the seals of arrival need, by which mail that Sieve and the like send on is
// mended.
var arrivalRules = []rule[*host]{
	{"arrival-secrets", Warning, "", "mail that Sieve, procmail and the like send on is not mended, and a " +
		"forgery of a domain of yours among it can leave with your signature", judgeSealSecrets},
	{"arrival-header-checks", Warning, "", "mail that Sieve, procmail and the like send on is not " +
		"mended: it is not known where it came from", judgeSealChecks},
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
