package check

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
)

// aliasForward is something that local(8) forwards to another host.
type aliasForward struct{ from, to string }

// judgeAliases finds forwards to other hosts that local(8) makes after the filter: alias(5) and .forward.
func judgeAliases(h *host) []Fault {
	if h.isTransport() || transport(h.Main("local_transport")) != "local" {
		return nil
	}
	found, unknown := h.aliasForwards()
	var faults []Fault
	if len(found) > 0 {
		faults = append(faults, Fault{What: fmt.Sprintf("forwards that do not pass postmend: %s; move "+
			"them to virtual_alias_maps, or change to transport mode (docs/postfix.md, \"Content filter "+
			"or transport\")", shownForwards(found))})
	}
	for _, table := range unknown {
		faults = append(faults, Fault{What: "aliases in " + table +
			" cannot be listed: those that lead to other hosts do not pass postmend", Severity: Note})
	}
	return faults
}

func shownForwards(found []aliasForward) string {
	const most = 10
	var texts []string
	for _, f := range found[:min(most, len(found))] {
		texts = append(texts, f.from+" to "+f.to)
	}
	if len(found) > most {
		texts = append(texts, fmt.Sprintf("and %d more", len(found)-most))
	}
	return strings.Join(texts, ", ")
}

// aliasForwards looks through alias_maps, and through the .forward files of all accounts; unknown are tables
// that cannot be listed.
func (h *host) aliasForwards() (found []aliasForward, unknown []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, table := range entries(h.Main("alias_maps")) {
		if strings.HasPrefix(table, "nis:") {
			continue
		}
		aliases, err := h.config.Entries(ctx, table)
		if err != nil {
			unknown = append(unknown, table)
			continue
		}
		for name, value := range aliases {
			if to := h.remoteTarget(value, 0); to != "" {
				found = append(found, aliasForward{"the alias " + strings.TrimRight(name, "\x00"), to})
			}
		}
	}
	slices.SortFunc(found, func(a, b aliasForward) int { return strings.Compare(a.from, b.from) })
	return append(found, h.forwardFiles()...), unknown
}

// forwardFiles looks for .forward where forward_path has it by default.
func (h *host) forwardFiles() []aliasForward {
	var found []aliasForward
	text, _ := os.ReadFile("/etc/passwd")
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(line, ":")
		if len(fields) < 7 || !filepath.IsAbs(fields[5]) ||
			!strings.Contains(h.Main("forward_path"), "/.forward") {
			continue
		}
		path := filepath.Join(fields[5], ".forward")
		if to := h.remoteTarget(targetsIn(path), 0); to != "" {
			found = append(found, aliasForward{path, to})
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
func (h *host) remoteTarget(value string, depth int) string {
	for target := range strings.SplitSeq(strings.TrimRight(value, "\x00"), ",") {
		target = strings.Trim(strings.TrimSpace(target), `"\`)
		if path, found := strings.CutPrefix(target, ":include:"); found && depth < 3 {
			if to := h.remoteTarget(targetsIn(strings.TrimSpace(path)), depth+1); to != "" {
				return to
			}
			continue
		}
		if target == "" || strings.ContainsRune("|/#:", rune(target[0])) {
			continue
		}
		at := strings.LastIndexByte(target, '@')
		if at > 0 && classOf(h.domains, strings.ToLower(strings.TrimSuffix(target[at+1:], ">"))) == "" {
			return target
		}
	}
	return ""
}
