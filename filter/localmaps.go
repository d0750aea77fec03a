package filter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"strings"

	"golang.org/x/net/idna"

	"postmend/filter/cause"
	"postmend/filter/domain"
)

// policyFor adds to the policy the domains of an envelope that Postfix's tables call local, so that the plan
// needs no look-up.
func (f *Filter) policyFor(ctx context.Context, env *Envelope) (policy, error) {
	p := f.policy
	tables := f.config.LocalDomainsMaps
	unknown := p.undecided(env)
	if len(tables) == 0 || len(unknown) == 0 {
		return p, nil
	}
	p.local = maps.Clone(p.local)
	for _, table := range tables {
		found, err := askTable(ctx, table, spellings(unknown))
		if err != nil {
			// "Not local" would be a guess, and local mail could leave.
			return p, cause.TableFailed.Failure(fmt.Errorf("local_domains_maps: %w", err))
		}
		for _, key := range found {
			p.local[domain.Canonical(key)] = true
		}
	}
	return p, nil
}

// isLocalAuthor tells whether a table calls the domain of From: local. If a table fails, that counts as yes:
// then From: has no more rights than any forgery of a domain of ours.
func (f *Filter) isLocalAuthor(ctx context.Context, authors []string) bool {
	if len(f.config.LocalDomainsMaps) == 0 || len(authors) != 1 {
		return false
	}
	p, err := f.policyFor(ctx, &Envelope{Recipients: []Recipient{{Address: "postmaster@" + authors[0]}}})
	return err != nil || p.local.Has(authors[0])
}

// undecided gives the domains of an envelope that are not known to be local: the recipients', and, because a
// sender in a local domain stays, the sender's if there is a recipient elsewhere.
func (p *policy) undecided(env *Envelope) []string {
	seen := map[string]bool{}
	add := func(address string) {
		name := domain.Of(address)
		if _, err := domain.Parse(name); err == nil && !p.local.Has(name) {
			seen[name] = true
		}
	}
	for _, r := range env.Recipients {
		add(r.Address)
	}
	if len(seen) > 0 {
		add(env.Sender)
	}
	domains := make([]string, 0, len(seen))
	for domain := range seen {
		domains = append(domains, domain)
	}
	return domains
}

// spellings adds to canonical domains with A-labels (RFC 5890) their U-labels: a table has a domain as the
// operator wrote it.
func spellings(domains []string) []string {
	all := domains
	for _, domain := range domains {
		if !strings.Contains(domain, "xn--") {
			continue
		}
		if unicode, err := idna.Lookup.ToUnicode(domain); err == nil && unicode != domain {
			all = append(all, unicode)
		}
	}
	return all
}

// askTable gives the keys that a Postfix table has, by one run of postmap(1) for all of them. The keys are
// domain names.
func askTable(ctx context.Context, table string, keys []string) ([]string, error) {
	cmd := exec.CommandContext(ctx, postmap(), "-q", "-", table)
	cmd.Stdin = strings.NewReader(strings.Join(keys, "\n") + "\n")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var exit *exec.ExitError
	// Exit status 1 means "not found", or that the table failed: then, and not with mere warnings, the word
	// is "fatal".
	if _, fatal, failed := strings.Cut(stderr.String(), "fatal: "); err != nil &&
		(failed || !errors.As(err, &exit) || exit.ExitCode() != 1) {
		return nil, fmt.Errorf("postmap -q: %w: %.300q", err, fatal)
	}
	var found []string
	for line := range strings.Lines(stdout.String()) {
		key, _, _ := strings.Cut(line, "\t")
		found = append(found, key)
	}
	return found, nil
}

// postmap is the program's path. pipe(8) gives its commands no PATH.
func postmap() string {
	if path, err := exec.LookPath("/usr/sbin/postmap"); err == nil {
		return path
	}
	return "postmap"
}
