package setup

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"postmend/postfix/access"
	"postmend/postfix/postconf"
)

// Forward is mail that local(8) forwards to another host.
type Forward struct{ From, To string }

// ShowForwards names the first few.
func ShowForwards(found []Forward, most int) string {
	var texts []string
	for _, f := range found[:min(most, len(found))] {
		texts = append(texts, f.From+" to "+f.To)
	}
	if len(found) > most {
		texts = append(texts, fmt.Sprintf("and %d more", len(found)-most))
	}
	return strings.Join(texts, ", ")
}

// Forwards looks through alias_maps, and through the .forward files of all accounts. Unknown are the tables
// that cannot be listed.
func Forwards(c *postconf.Config, domains *Domains) (found []Forward, unknown []string) {
	expanded, err := c.Expanded()
	if err != nil {
		return nil, nil
	}
	if transport, _, _ := strings.Cut(expanded.Get("local_transport"), ":"); transport != "local" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, table := range postconf.List(expanded.Get("alias_maps")) {
		table = strings.TrimPrefix(table, "proxy:")
		if strings.HasPrefix(table, "nis:") {
			continue
		}
		aliases, err := c.Entries(ctx, table)
		if err != nil {
			unknown = append(unknown, table)
			continue
		}
		for name, value := range aliases {
			if to := remoteTarget(domains, value, 0); to != "" {
				found = append(found, Forward{"the alias " + strings.TrimRight(name, "\x00"), to})
			}
		}
	}
	slices.SortFunc(found, func(a, b Forward) int { return strings.Compare(a.From, b.From) })
	if strings.Contains(expanded.Get("forward_path"), "/.forward") {
		found = append(found, forwardFiles(domains)...)
	}
	return found, unknown
}

// forwardFiles looks for .forward where forward_path has it by default.
func forwardFiles(domains *Domains) []Forward {
	var found []Forward
	for _, account := range access.Database("/etc/passwd") {
		if len(account) < 7 || !filepath.IsAbs(account[5]) {
			continue
		}
		path := filepath.Join(account[5], ".forward")
		if to := remoteTarget(domains, targetsIn(path), 0); to != "" {
			found = append(found, Forward{path, to})
		}
	}
	return found
}

// targetsIn are the targets in a file, which somebody else wrote: it may be a pipe, or have no end.
func targetsIn(path string) string {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	content, _ := io.ReadAll(io.LimitReader(file, 1<<20))
	return strings.ReplaceAll(string(content), "\n", ",")
}

// remoteTarget is the first address at another host among the targets of an alias; "" if there is none.
func remoteTarget(domains *Domains, value string, depth int) string {
	for target := range strings.SplitSeq(strings.TrimRight(value, "\x00"), ",") {
		target = strings.Trim(strings.TrimSpace(target), `"\`)
		if path, found := strings.CutPrefix(target, ":include:"); found && depth < 3 {
			if to := remoteTarget(domains, targetsIn(strings.TrimSpace(path)), depth+1); to != "" {
				return to
			}
			continue
		}
		if target == "" || strings.ContainsRune("|/#:", rune(target[0])) {
			continue
		}
		at := strings.LastIndexByte(target, '@')
		if at > 0 && domains.ClassAbove(strings.TrimSuffix(target[at+1:], ">")) == "" {
			return target
		}
	}
	return ""
}
