package check

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postmend/postfix/access"
	"postmend/postfix/layout"
)

// hasTransport tells whether master.cf has the service that a value such as content_filter's names.
func (h *host) hasTransport(value string) bool {
	_, found := h.config.Service(transport(value) + "/unix")
	return found
}

// judgeTransports finds a content_filter or default_transport that names no service.
func judgeTransports(h *host) []fault {
	var faults []fault
	for _, name := range []string{"content_filter", "default_transport"} {
		value := h.Main(name)
		if value == "" || h.hasTransport(value) || transport(value) == layout.Transport && h.filter == nil {
			continue // a filter that is missing has a rule of its own
		}
		wrong := fault{What: fmt.Sprintf("%s = %s, and master.cf has no service %s", name, value,
			transport(value))}
		if h.command == nil || name == "default_transport" {
			wrong.Mend = h.unset(name)
			faults = append(faults, wrong)
			continue
		}
		faults = append(faults, wrong.switching(h, h.set(name, h.filter.Name+":dummy")))
	}
	for _, s := range append(h.fronts(), h.servicesOf("pickup")...) {
		if value := s.Options["content_filter"]; value != "" && !h.hasTransport(value) {
			faults = append(faults,
				fault{What: fmt.Sprintf("%s has content_filter=%s, and master.cf has no service %s", s.ID(),
					value, transport(value)),
					Mend: h.config.UnsetOptionCommand(s.ID(), "content_filter").String()})
		}
	}
	return faults
}

// judgeLocalTables asks local_domains_maps as the filter does it, and as its account: modes, access
// control lists and mandatory access control all count.
func judgeLocalTables(h *host) []fault {
	if len(h.LocalTables) == 0 || h.account.IsMissing {
		return nil
	}
	if os.Geteuid() != 0 {
		return []fault{{What: "local_domains_maps are not tested as " + h.account.Name +
			": run check as root",
			Severity: Note}}
	}
	var faults []fault
	for _, table := range h.LocalTables {
		if err := h.askAs(h.account, table); err != nil {
			what, mend := h.letAsk(table)
			faults = append(faults, fault{What: fmt.Sprintf("%s cannot ask %s of local_domains_maps: %v%s",
				h.account.Name, table, err, what), Mend: mend, cause: "table: " + what, about: table})
		}
	}
	return faults
}

// askAs asks a table for a name that it does not have, as pipe(8) has an account do it.
func (h *host) askAs(u *access.User, table string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	path, err := exec.LookPath("postmap")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, "-q", "-", table)
	cmd.Dir, cmd.Env = h.Main("queue_directory"), []string{"MAIL_CONFIG=" + h.config.Dir}
	if _, err := os.Stat(cmd.Dir); err != nil {
		cmd.Dir = "/"
	}
	cmd.SysProcAttr = u.Credential()
	cmd.Stdin = strings.NewReader("check.postmend.invalid\n")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err = cmd.Run()
	if _, reason, fatal := strings.Cut(stderr.String(), "fatal: "); fatal {
		return fmt.Errorf("%s", strings.TrimSpace(reason))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if exit, ok := err.(*exec.ExitError); ok && exit.ExitCode() == 1 {
		return nil // it does not have the name
	}
	return err
}

// letAsk is the command that lets the account read the files of a table, or what to do where there is none.
// The owner and a group that reads them keep their access.
func (h *host) letAsk(table string) (what, mend string) {
	const byHand = "; name its domains in local_domains, or in local_domains_file, instead"
	kind, path, _ := strings.Cut(table, ":")
	suffix, isFile := map[string]string{"hash": ".db", "btree": ".db", "lmdb": ".lmdb", "cdb": ".cdb",
		"dbm": ".pag", "texthash": "", "regexp": "", "pcre": "", "cidr": ""}[kind]
	if !isFile || !filepath.IsAbs(path) {
		return byHand + "; or let the account read it (setfacl, package acl), if it may see the password " +
			"in it", ""
	}
	var commands []string
	for _, name := range slices.Compact([]string{path, path + suffix}) {
		f := access.LookAt(name)
		if f.Err != nil || f.Barrier(h.account, access.MayRead) == nil {
			continue
		}
		through, ok := f.LetThrough(h.account)
		setfacl, err := exec.LookPath("setfacl")
		switch {
		case !ok:
			return byHand, ""
		case f.Allows(h.account, access.MayRead):
		case f.GID == 0 || f.Mode.Perm()&0o040 == 0:
			through = append(through, shell("chgrp", h.account.Group(), name), shell("chmod", "g+r", name))
		case err == nil:
			through = append(through, shell(filepath.Base(setfacl), "-m", "u:"+h.account.Name+":r", name))
		default:
			return byHand, ""
		}
		commands = append(commands, through...)
	}
	mend = strings.Join(slices.Compact(commands), " && ")
	return cmp.Or(map[bool]string{true: byHand}[mend == ""], ""), mend
}
