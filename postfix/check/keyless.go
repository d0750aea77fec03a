package check

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"

	"postmend/dkim"
	"postmend/filter/config"
	"postmend/postfix/access"
	"postmend/postfix/setup"
)

// judgeKeyless finds domains of Postfix's that have no key, and leads to one in the order that breaks no
// mail: the key, its record in DNS, and only then the configuration.
func judgeKeyless(o *own) []fault {
	if len(o.keys) == 0 {
		return nil // nothing is signed at all, and another rule says so
	}
	var faults []fault
	for _, domain := range setup.Keyless(o.config, o.hosted) {
		faults = append(faults, o.nextForKey(newKeyOf(o.config, domain)))
	}
	if private := setup.Keyless(o.config, o.private); private != nil {
		faults = append(faults, fault{What: setup.WithoutKey(private),
			Why: "mail of these domains is not signed"})
	}
	for _, table := range o.unlisted {
		faults = append(faults, fault{What: "the domains in " + table +
			" cannot be listed: each that postmend should sign for needs [[dkim.keys]]",
			Why: "mail of a domain without a key is not signed; if From: of mail that it forwards has " +
				"to be rewritten, the new author is postmaster@ the default domain",
			cause: "unlisted", about: table})
	}
	return faults
}

// newKeyOf names a key for a domain as the first one is named.
func newKeyOf(c *config.Config, domain string) config.Key {
	first := c.DKIM.Keys[0]
	return config.Key{Domain: domain, Selector: first.Selector,
		File: filepath.Join(filepath.Dir(first.File), domain+"."+first.Selector+".pem")}
}

// nextForKey is the next step towards a key that the configuration does not have yet.
func (o *own) nextForKey(k config.Key) fault {
	what := k.Domain + " is delivered here and has no [[dkim.keys]]"
	key, err := dkim.LoadKey(k.Domain, k.Selector, k.File)
	if err != nil && access.LookAt(k.File).IsMissing() {
		return fault{What: what + "; after this command publish the record that it prints, and check again",
			Mend: o.account.First(o.makeKey(k)), cause: "no key", about: k.Domain}
	} else if err != nil {
		return fault{What: what + "; its key would be " + k.File + ", which cannot be used: " + err.Error()}
	}
	record, _ := key.ZoneRecord()
	return fault{What: what + "; the configuration does not name the key in " + k.File +
		": when its record is published, add it", Publish: record,
		cause: "unused key", about: k.Domain}.addKey(o, k)
}

// addKey completes a fault by what adds a section to the configuration.
func (f fault) addKey(o *own, k config.Key) fault {
	lines := []string{"", "[[dkim.keys]]", fmt.Sprintf("domain = %q", k.Domain),
		fmt.Sprintf("selector = %q", k.Selector), fmt.Sprintf("file = %q", k.File)}
	if _, err := toml.Decode(o.Text+strings.Join(lines, "\n"), &config.Config{}); err == nil {
		f.Mend = shell(append([]string{"printf", `%s\n`}, lines...)...) + " >> " + shell(o.ConfigFile)
		return f
	}
	// The keys are written as a list.
	f.Edit = &Edit{File: o.ConfigFile, Line: config.LineOfKey([]byte(o.Text), "dkim.keys"), Key: "dkim.keys",
		Add:   true,
		Value: "{ " + strings.Join(lines[2:], ", ") + " }"}
	return f
}
