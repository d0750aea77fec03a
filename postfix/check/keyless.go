package check

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/BurntSushi/toml"

	"postmend/dkim"
	"postmend/filter/authn"
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
	answer, wasAsked := o.newRecords[k.Domain]
	_, notPublished := key.Published(answer.texts)
	state, isReady := "when its record is published, add it", true
	switch {
	case !wasAsked:
	case isUnknown(answer.err):
		state, isReady = "DNS did not answer for its record: when it is published, check again", false
	case notPublished != nil:
		state, isReady = "publish its record, and check again ("+notPublished.Error()+")", false
	default:
		state, record = "its record is published, so add it", ""
	}
	next := fault{What: what + "; the configuration does not name the key in " + k.File + ": " + state,
		Publish: record, cause: "unused key: " + state, about: k.Domain}
	if !isReady {
		return next
	}
	return next.addKey(o, k)
}

// askNewRecords asks for the records of keys that are there and that the configuration does not name yet.
func (o *own) askNewRecords(ctx context.Context) {
	if len(o.keys) == 0 {
		return
	}
	resolver := authn.New(o.config.Resolver)
	o.newRecords = map[string]keyRecord{}
	var asking sync.WaitGroup
	var writing sync.Mutex
	for _, domain := range setup.Keyless(o.config, o.hosted) {
		k := newKeyOf(o.config, domain)
		key, err := dkim.LoadKey(k.Domain, k.Selector, k.File)
		if err != nil {
			continue
		}
		asking.Go(func() {
			texts, err := resolver.LookupTXT(ctx, key.RecordName())
			writing.Lock()
			defer writing.Unlock()
			o.newRecords[domain] = keyRecord{texts, err}
		})
	}
	asking.Wait()
}

// keyRecord is what DNS has at the name of a key's record.
type keyRecord struct {
	texts []string
	err   error
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
