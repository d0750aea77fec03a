package setup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
)

// Mode is where postmend stands in Postfix.
type Mode string

const (
	// ContentFilter filters what smtpd(8) and pickup(8) take. Forwards made by local(8), from alias(5) and
	// .forward, and Postfix's own bounces do not pass it.
	ContentFilter Mode = "content-filter"
	// Transport filters whatever leaves for a remote domain.
	Transport Mode = "transport"
)

// circumstances are what the choice of the mode depends on.
type circumstances struct {
	wanted      Mode      // what the operator says; "" if nothing
	setUp       Mode      // what Postfix uses already; "" if postmend is not set up
	prepared    Mode      // what setup --prepare chose; "" if it has not run
	otherFilter string    // a content filter that is not postmend, as "content_filter is smtp:…"; "" for none
	forwards    []Forward // by alias(5) and .forward, to other hosts
	milter      bool      // what arrives is sealed by the milter
	leadsPast   string    // a parameter by which mail could leave past a transport; "" for none
}

// choose gives the mode, and the reason for it.
func (c *circumstances) choose() (mode Mode, why string) {
	switch {
	case c.wanted != "":
		return c.wanted, "as --mode says"
	case c.setUp != "":
		return c.setUp, "as it is set up"
	case c.prepared != "":
		return c.prepared, "as it was prepared"
	case c.otherFilter != "":
		return Transport, c.otherFilter + " already, and Postfix has only one content filter for a message"
	case len(c.forwards) > 0:
		return Transport, "a content filter does not see what local(8) forwards: " +
			ShowForwards(c.forwards, 2)
	case c.milter && c.leadsPast == "":
		return Transport, "with the milter, only mail that leaves has to pass postmend"
	case c.milter:
		return ContentFilter, c.leadsPast + " could lead mail past a transport"
	}
	return ContentFilter, "no alias(5) or .forward leads to another host"
}

// ChooseMode gives the mode in which setup would set postmend up, and the reason for it. Wanted is what the
// operator says, or "", and milter as in Wanted.
func ChooseMode(
	c *postconf.Config, domains *Domains, configFile string, wanted Mode, milter string,
) (mode Mode, why string, err error) {
	state, err := loadState(c)
	if err != nil {
		return "", "", err
	}
	facts := circumstances{wanted: wanted, prepared: preparedMode(configFile)}
	switch {
	case namesUs(c, "default_transport"):
		facts.setUp = Transport
	case namesUs(c, "content_filter"):
		facts.setUp = ContentFilter
	case state != nil:
		facts.setUp = state.Mode
	}
	if where, filter := otherFilter(c, ""); filter != "" {
		facts.otherFilter = where + " is " + filter
	}
	facts.forwards, _ = Forwards(c, domains)
	facts.milter = milter != "" || strings.Contains(c.Get("smtpd_milters"), layout.MilterAddress)
	for _, name := range []string{"transport_maps", "sender_dependent_default_transport_maps",
		"sender_dependent_relayhost_maps"} {
		if c.Get(name) != "" {
			facts.leadsPast = name
		}
	}
	mode, why = facts.choose()
	return mode, why, nil
}

// namesUs tells whether a parameter names our transport.
func namesUs(c *postconf.Config, name string) bool {
	return strings.HasPrefix(c.Get(name), layout.DefaultTransport)
}

// isSetUp tells whether postmend is in this Postfix, or was left there by a setup that did not end.
func isSetUp(c *postconf.Config, state *State) bool {
	return state != nil || namesUs(c, "default_transport") || namesUs(c, "content_filter")
}

// modeFile keeps the mode between setup --prepare and setup --apply.
func modeFile(configFile string) string {
	return strings.TrimSuffix(configFile, filepath.Ext(configFile)) + ".mode"
}

// preparedMode is what modeFile says; "" if there is none.
func preparedMode(configFile string) Mode {
	text, _ := os.ReadFile(modeFile(configFile))
	switch mode := Mode(strings.TrimSpace(string(text))); mode {
	case ContentFilter, Transport:
		return mode
	}
	return ""
}

// keepMode is the step that writes the mode down; nil if setup --apply would choose the same one.
func (h *home) keepMode(mode Mode) []Step {
	if preparedMode(h.path) == mode {
		return nil
	}
	return []Step{{Why: fmt.Sprintf("for setup --apply: the mode %s", mode),
		Action: File{Path: modeFile(h.path), Content: string(mode) + "\n", Mode: 0o644}}}
}
