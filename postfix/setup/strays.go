package setup

import (
	"slices"
	"strings"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
)

// strays are parameters and options that lead to a service which is gone after the undoing, although setup
// did not write them: mail would be deferred for good. Known are the parameters that are undone anyway.
func strays(c *postconf.Config, known, services []Change) (parameters []Change, options []Step) {
	isGone := func(id string) bool {
		_, found := c.Service(id)
		return !found || slices.ContainsFunc(services, func(change Change) bool {
			return change.Name == id && change.Now == nil
		})
	}
	const why = "it leads to a service that is gone"
	rest := func(name, value string) (string, bool) {
		switch name {
		case "content_filter", "default_transport", "relay_transport":
			return "", strings.HasPrefix(value, layout.DefaultTransport) && isGone(layout.FilterID)
		case "smtpd_milters":
			if isGone(layout.MilterID) {
				return withoutMilter(value, layout.MilterAddress)
			}
		default:
			if isGone(layout.ReverseID) {
				return withoutOurs(value)
			}
		}
		return value, false
	}
	for _, name := range []string{"content_filter", "default_transport", "relay_transport", "smtpd_milters",
		"virtual_alias_maps", "recipient_canonical_maps", "canonical_maps"} {
		isKnown := slices.ContainsFunc(known, func(change Change) bool { return change.Name == name })
		if isKnown || !c.IsSet(name) {
			continue
		}
		value := c.Get(name)
		if kept, found := rest(name, value); found {
			change := Change{Name: name, Was: &value, Why: why}
			if kept != "" {
				change.Now = &kept
			}
			parameters = append(parameters, change)
		}
	}
	for _, s := range c.Services() {
		if isOurListener(s) || slices.ContainsFunc(services,
			func(change Change) bool { return change.Name == s.ID() }) {
			continue
		}
		for _, name := range []string{"content_filter", "smtpd_milters"} {
			if kept, found := rest(name, s.Options[name]); found {
				options = append(options, Step{s.ID() + ": " + why, c.SetOptionCommand(s.ID(), name,
					strings.Join(postconf.List(kept), ","))})
			}
		}
	}
	return parameters, options
}

// withoutMilter takes the entry for an address out of a list of milters.
func withoutMilter(list, address string) (rest string, found bool) {
	items := postconf.List(list)
	kept := slices.DeleteFunc(slices.Clone(items), func(entry string) bool {
		at, _ := layout.MilterOf(entry)
		return at == address
	})
	return strings.Join(kept, ", "), len(kept) < len(items)
}

// withoutOwn takes what is postmend's out of the value of a parameter that somebody changed since setup had
// written ours into it.
func withoutOwn(name, value, ours string) (rest string, found bool) {
	entries := postconf.List(ours)
	switch name {
	case "smtpd_milters":
		for _, entry := range entries {
			// Setup writes its entry first, or leaves it where it is.
			address, _ := layout.MilterOf(entry)
			if strings.Contains(address, layout.Transport) {
				return withoutMilter(value, address)
			}
		}
		return value, false
	case "virtual_alias_domains": // setup adds the SRS domain at the end
		kept := postconf.List(value)
		last := slices.Index(kept, entries[len(entries)-1])
		if last < 0 {
			return value, false
		}
		return strings.Join(slices.Delete(kept, last, last+1), ", "), true
	}
	return withoutOurs(value)
}
