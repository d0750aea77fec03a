package setup

import (
	"fmt"
	"path/filepath"
	"strings"

	"postmend/filter/config"
)

// configText is the configuration file. Postfix's tables are the only values that are not plain names.
func configText(c *config.Config) string {
	var b strings.Builder
	list := func(comment, name string, values []string) {
		if len(values) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n# %s\n%s = [\n", comment, name)
		for _, value := range values {
			fmt.Fprintf(&b, "  %s,\n", tomlString(value))
		}
		b.WriteString("]\n")
	}
	b.WriteString("# Written by postmend setup, from Postfix's configuration. setup does not change it " +
		"again.\n# All settings: postmend.toml(5). After a change: postmend check.\n\n")
	fmt.Fprintf(&b, "hostname = %s\n", tomlString(c.Hostname))
	list("Domains that are delivered here.", "local_domains", c.LocalDomains)
	list("Postfix's tables with more of them.", "local_domains_maps", c.LocalDomainsMaps)
	var networks []string
	for _, network := range c.TrustedNetworks {
		networks = append(networks, network.String())
	}
	list("Clients whose mail is your own.", "trusted_networks", networks)
	list("Where mail leaves from, as other hosts see it.", "outbound_addresses", c.OutboundAddresses)
	fmt.Fprintf(&b, "\n# The sender of forwarded mail.\n[srs]\ndomain = %s\nsecrets_file = "+
		"\"srs.secrets\"\nstore = %s\n", tomlString(c.SRS.Domain), tomlString(c.SRS.Store))
	fmt.Fprintf(&b, "\n# The domain that signs forwarded mail.\n[dkim]\ndefault_domain = %s\n",
		tomlString(c.DKIM.DefaultDomain))
	for _, key := range c.DKIM.Keys {
		fmt.Fprintf(&b, "\n[[dkim.keys]]\ndomain = %s\nselector = %s\nfile = %s\n",
			tomlString(key.Domain), tomlString(key.Selector), tomlString("dkim/"+filepath.Base(key.File)))
	}
	fmt.Fprintf(&b, "\n# The listener of Postfix that takes mended mail back.\n[reinject]\ntarget = %s\n",
		tomlString(c.Reinject.Target))
	return b.String()
}

// tomlString writes a basic string of TOML.
func tomlString(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}
