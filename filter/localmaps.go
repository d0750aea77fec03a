package filter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"golang.org/x/net/idna"

	"postmend/filter/cause"
	"postmend/filter/plan"
)

// policyFor adds to the policy the domains of an envelope that Postfix's tables call local, so that the plan
// needs no look-up.
func (f *Filter) policyFor(ctx context.Context, env *plan.Envelope) (plan.Policy, error) {
	p := f.policy
	tables := f.config.LocalDomainsMaps
	unknown := p.Undecided(env)
	if len(tables) == 0 || len(unknown) == 0 {
		return p, nil
	}
	var local []string
	for _, table := range tables {
		found, err := askTable(ctx, table, spellings(unknown))
		if err != nil {
			// "Not local" would be a guess, and local mail could leave.
			return p, cause.TableFailed.Failure(fmt.Errorf("local_domains_maps: %w", err))
		}
		local = append(local, found...)
	}
	p.AddLocal(local)
	return p, nil
}

// isLocal tells whether mail to a domain is delivered here, by the configuration or by a table.
func (f *Filter) isLocal(ctx context.Context, name string) (bool, error) {
	p, err := f.policyFor(ctx, &plan.Envelope{Recipients: []plan.Recipient{{Address: "postmaster@" + name}}})
	return p.IsLocal(name), err
}

// isLocalAuthor tells whether a table calls the domain of From: local. If a table fails, that counts as yes:
// then From: has no more rights than any forgery of a domain of ours.
func (f *Filter) isLocalAuthor(ctx context.Context, authors []string) bool {
	if len(f.config.LocalDomainsMaps) == 0 || len(authors) != 1 {
		return false
	}
	isLocal, err := f.isLocal(ctx, authors[0])
	return isLocal || err != nil
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
		return nil, fmt.Errorf("postmap -q: %w: %.300q", err, strings.TrimSpace(fatal))
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
