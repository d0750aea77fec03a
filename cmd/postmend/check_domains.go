package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"postmend/dkim"
	"postmend/filter"
	"postmend/postfix/check"
)

// judgeKeyless finds domains of Postfix's that have no key, and leads to one in the order that breaks no mail: the key, its record in DNS,
// and only then the configuration.
func judgeKeyless(o *own) []check.Fault {
	if len(o.keys) == 0 {
		return nil // nothing is signed at all, and another rule says so
	}
	var faults []check.Fault
	for _, domain := range keyless(o.config, o.hosted) {
		faults = append(faults, o.nextForKey(newKeyOf(o.config, domain)))
	}
	for _, table := range o.unlisted {
		faults = append(faults, check.Fault{What: "the domains in " + table + " are not looked through: each that is to be signed for needs its [[dkim.keys]]"})
	}
	return faults
}

// keyless are the domains for which a configuration has no key, neither their own nor one of a domain above.
func keyless(c *filter.Config, domains []string) []string {
	var without []string
	for _, domain := range domains {
		serves := func(k filter.KeyConfig) bool { return domain == k.Domain || strings.HasSuffix(domain, "."+k.Domain) }
		if !slices.ContainsFunc(c.DKIM.Keys, serves) {
			without = append(without, domain)
		}
	}
	return without
}

// newKeyOf names a key for a domain as the first one is named.
func newKeyOf(c *filter.Config, domain string) filter.KeyConfig {
	first := c.DKIM.Keys[0]
	return filter.KeyConfig{Domain: domain, Selector: first.Selector, File: filepath.Join(filepath.Dir(first.File), domain+"."+first.Selector+".pem")}
}

// nextForKey is the next step towards a key that the configuration does not have yet.
func (o *own) nextForKey(k filter.KeyConfig) check.Fault {
	what := k.Domain + " is delivered here and has no [[dkim.keys]]"
	key, err := dkim.LoadKey(k.Domain, k.Selector, k.File)
	if err != nil && check.Stat(k.File).Missing() {
		return check.Fault{What: what + "; after this command publish the record that it prints, and check again", Mend: o.makeKey(k)}
	} else if err != nil {
		return check.Fault{What: what + "; its key would be " + k.File + ", which cannot be used: " + err.Error()}
	}
	record, _ := key.ZoneRecord()
	return check.Fault{What: what + ", but a key in " + k.File + ": when its record is published, add it to the configuration", Publish: record, Mend: o.addKey(k)}
}

// addKey is the command that adds a section to the configuration.
func (o *own) addKey(k filter.KeyConfig) string {
	lines := []string{"", "[[dkim.keys]]", "domain = " + tomlString(k.Domain), "selector = " + tomlString(k.Selector), "file = " + tomlString(k.File)}
	if _, err := toml.Decode(o.text+strings.Join(lines, "\n"), &filter.Config{}); err != nil {
		return fmt.Sprintf("${EDITOR:-vi} %s", check.Shell(o.configFile)) // the keys are written as a list
	}
	return check.Shell(append([]string{"printf", `%s\n`}, lines...)...) + " >> " + check.Shell(o.configFile)
}
