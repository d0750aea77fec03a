package check

import (
	"postmend/postfix/postconf"
	"postmend/postfix/setup"
)

// judgeAliases finds forwards to other hosts that local(8) makes after a content filter: alias(5) and
// .forward. Before mail passes postmend, the mode can still be chosen.
func judgeAliases(h *host) []fault {
	if h.mode == setup.Transport {
		return nil
	}
	found, unknown := setup.Forwards(h.config, h.domains)
	var faults []fault
	switch what := "forwards that do not pass postmend: " + setup.ShowForwards(found, 10); {
	case len(found) > 0 && h.isPrepared():
		faults = append(faults,
			fault{What: what + "; change to transport mode, or move them to virtual_alias_maps",
				Mend: shell(h.setupCommand("--prepare", "--mode", string(setup.Transport))...)})
	case len(found) > 0:
		faults = append(faults, fault{What: what + "; move them to virtual_alias_maps, or change to " +
			"transport mode (docs/postfix.md, \"Content filter or transport\")"})
	}
	for _, table := range unknown {
		faults = append(faults, fault{What: "aliases in " + table +
			" cannot be listed: those that lead to other hosts do not pass postmend", Severity: Note})
	}
	return faults
}

// setupCommand are the words of a setup for this host.
func (h *host) setupCommand(flags ...string) postconf.Command {
	words := append(postconf.Command{h.Program, "setup"}, flags...)
	if !h.config.IsDefault() {
		words = append(words, "--postfix-dir", h.config.Dir)
	}
	return append(words, h.setupWords()...)
}
