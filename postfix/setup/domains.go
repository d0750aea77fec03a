package setup

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"postmend/filter/domain/publicsuffix"
	"postmend/postfix"
	"postmend/postfix/postconf"
)

// Domains are the domains for which a Postfix is the destination or a relay.
type Domains struct {
	// Names are those that stand in main.cf, lower case; a leading dot stands for all subdomains.
	Names []string
	// Tables are the look-up tables that have more of them as keys.
	Tables []string
	// Listed are the domains among the keys of these tables; Unlisted the tables whose keys cannot be told,
	// or are more than a person looks after one by one.
	Listed, Unlisted []string

	Doubles []Double // names that stand in two parameters

	classOf       map[string]string
	classOfListed map[string]string
	failed        bool
	ask           func(table, key string) bool
	tables        map[string]string // table to parameter
}

// Double is a domain with two address classes. Postfix logs a warning for each message to it.
type Double struct{ Name, First, Second string }

// ReadDomains gathers the domains of all address classes.
func ReadDomains(ctx context.Context, c *postconf.Config) (*Domains, error) {
	d := &Domains{classOf: map[string]string{}, classOfListed: map[string]string{},
		tables: map[string]string{}}
	d.ask = func(table, key string) bool {
		_, found, err := c.Lookup(ctx, table, key)
		d.failed = d.failed || err != nil
		return err == nil && found
	}
	parents := postconf.List(c.Get("parent_domain_matches_subdomains"))
	for _, class := range []string{"mydestination", "virtual_alias_domains", "virtual_mailbox_domains",
		"relay_domains"} {
		list, err := c.Expand(class)
		if err != nil {
			return nil, err
		}
		items, err := readLists(postconf.List(list), 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", class, err)
		}
		for _, item := range items {
			d.add(class, item, slices.Contains(parents, class))
		}
	}
	for _, table := range slices.Clone(d.Tables) {
		keys, err := c.Keys(ctx, table)
		isDomain := func(key string) bool { return isName(canonical(key)) }
		if strings.HasPrefix(table, "inline:") && err == nil && !slices.ContainsFunc(keys, isDomain) {
			// As it stands in main.cf it has no domains, and never will.
			d.Tables = slices.DeleteFunc(d.Tables, func(t string) bool { return t == table })
			continue
		}
		if (err != nil || !d.list(table, keys)) && d.tables[table] != "relay_domains" { // those get no key
			d.Unlisted = append(d.Unlisted, table)
		}
	}
	return d, nil
}

// list takes the domains among the keys of a table, unless they are too many. Other keys are users and
// addresses.
func (d *Domains) list(table string, keys []string) bool {
	const most = 100
	for i, key := range keys {
		keys[i] = canonical(key)
	}
	names := slices.DeleteFunc(keys, func(key string) bool { return !isName(key) || !isPublic(key) })
	if len(names) > most {
		return false
	}
	for _, name := range names {
		if d.classOf[name] == "" && d.classOfListed[name] == "" {
			d.classOfListed[name] = d.tables[table]
			d.Listed = append(d.Listed, name)
		}
	}
	return true
}

// Unsure tells whether a table could not be asked: then Class may have missed a domain.
func (d *Domains) Unsure() bool { return d.failed }

func (d *Domains) add(class, item string, subdomains bool) {
	switch {
	case strings.HasPrefix(item, "!"), strings.HasPrefix(item, "["), isOurs(item):
	case strings.Contains(item, ":"):
		// proxymap(8) answers Postfix alone; postmap(1) can ask the table itself.
		table := strings.TrimPrefix(item, "proxy:")
		if d.tables[table] == "" {
			d.tables[table] = class
			d.Tables = append(d.Tables, table)
		}
	default:
		name := canonical(item)
		if !isName(strings.TrimPrefix(name, ".")) {
			return
		}
		names := []string{name}
		if subdomains && name[0] != '.' {
			names = append(names, "."+name)
		}
		for _, name := range names {
			switch first := d.classOf[name]; {
			case first == "":
				d.classOf[name] = class
				d.Names = append(d.Names, name)
			case first != class && name[0] != '.' && (first != "mydestination" || class != "relay_domains"):
				d.Doubles = append(d.Doubles, Double{name, first, class})
			}
		}
	}
}

func isName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == "" &&
		!strings.Contains(s, "..")
}

// Class gives the parameter that names a domain, itself or in a table; "" if none does.
func (d *Domains) Class(domain string) string {
	if class := d.classOf[domain]; class != "" {
		return class
	}
	for _, table := range d.Tables {
		for _, name := range spellings(domain) {
			if d.ask(table, name) {
				return d.tables[table]
			}
		}
	}
	return ""
}

// ClassAbove is Class for a domain, or else for one above it whose subdomains count.
func (d *Domains) ClassAbove(domain string) string {
	for key := canonical(domain); ; {
		if class := d.Class(key); class != "" {
			return class
		}
		_, above, found := strings.Cut(strings.TrimPrefix(key, "."), ".")
		if !found {
			return ""
		}
		key = "." + above
	}
}

// Signable are the domains that can publish a key: they are names of the public DNS, and no key of a domain
// above them serves.
func (d *Domains) Signable() []string {
	public := slices.DeleteFunc(d.hosted(), func(name string) bool { return !isPublic(name) })
	return slices.DeleteFunc(slices.Clone(public), func(name string) bool {
		isAbove := func(above string) bool { return strings.HasSuffix(name, "."+above) }
		return slices.ContainsFunc(public, isAbove)
	})
}

// Private are the domains with mailboxes here that can have no key, because their top-level domain is not in
// the public DNS, such as .test. Names of hosts alone, and of localhost, do not count.
func (d *Domains) Private() []string {
	return slices.DeleteFunc(d.hosted(), func(name string) bool {
		return isPublic(name) || !strings.Contains(name, ".") || strings.HasPrefix(name, "localhost.")
	})
}

// IsHosted tells whether a domain has mailboxes or aliases here, also by a table that cannot be listed.
func (d *Domains) IsHosted(domain string) bool {
	class := d.Class(domain)
	return class != "" && class != "relay_domains"
}

// hosted are the domains with mailboxes here.
func (d *Domains) hosted() []string {
	return slices.DeleteFunc(slices.Concat(d.Names, d.Listed), func(name string) bool {
		return name[0] == '.' || cmp.Or(d.classOf[name], d.classOfListed[name]) == "relay_domains"
	})
}

// WithoutKey says why domains that Private gives get no key.
func WithoutKey(private []string) string {
	return "no DKIM key is made for " + postfix.ShortList(private, mostNamed) +
		": without a top-level domain of the public DNS no receiver can look one up"
}

// isPublic tells whether a name can be registered. Debian lists localhost.$mydomain, in whose name nobody
// writes.
func isPublic(name string) bool {
	suffix, listed := publicsuffix.PublicSuffix(name)
	return name != suffix && listed && !strings.HasPrefix(name, "localhost.")
}

// readLists replaces "/path" items by what the files hold.
func readLists(items []string, depth int) ([]string, error) {
	var all []string
	for _, item := range items {
		if !strings.HasPrefix(item, "/") {
			all = append(all, item)
			continue
		}
		if depth > 10 {
			return nil, fmt.Errorf("%s: the lists are nested too deeply", item)
		}
		file, err := os.Open(item)
		if err != nil {
			return nil, err
		}
		var inner []string
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
				inner = append(inner, postconf.List(line)...)
			}
		}
		file.Close()
		if inner, err = readLists(inner, depth+1); err != nil {
			return nil, err
		}
		all = append(all, inner...)
	}
	return all, nil
}
