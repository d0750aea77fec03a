package tests

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"postmend/postfix/access"
	"postmend/tests/peer"
)

// standing is what no mend may take from anybody: who reads private files, what other services are there,
// where mail goes.
type standing struct {
	readers  map[string][]string // by the content of a private file: a copy counts for the original
	services []string            // of master.cf that are not postmend's, with their columns
	kept     string              // parameters of other programs
	passes   bool                // mail passes postmend
}

func (h *checkedHost) standing() standing {
	h.t.Helper()
	s := standing{readers: map[string][]string{}}
	err := filepath.WalkDir(filepath.Dir(h.config), func(path string, entry fs.DirEntry, err error) error {
		isPrivate := strings.HasSuffix(path, ".pem") || strings.HasPrefix(filepath.Base(path), "srs.secrets")
		if err != nil || entry.IsDir() || !isPrivate {
			return err
		}
		text, err := os.ReadFile(path)
		h.must(err)
		s.readers[string(text)] = append(s.readers[string(text)], h.readersOf(path)...)
		return nil
	})
	h.must(err)
	for line := range strings.Lines(h.run("postconf", "-c", h.dir, "-M")) {
		fields := strings.Fields(line)
		isOurs := strings.HasPrefix(fields[0], "postmend") || fields[0] == h.listener ||
			strings.HasSuffix(h.listener, ":"+fields[0])
		if len(fields) >= 8 && !isOurs {
			s.services = append(s.services, strings.Join(fields[:8], " "))
		}
	}
	s.kept = h.run("postconf", "-c", h.dir, "smtpd_milters", "non_smtpd_milters", "smtp_generic_maps",
		"smtp_header_checks", "smtp_body_checks",
		"alias_maps", "mynetworks", "mynetworks_style", "relayhost", "inet_interfaces", "transport_maps")
	route := h.run("postconf", "-c", h.dir, "-h", "content_filter", "default_transport")
	s.passes = slices.ContainsFunc(strings.Split(route, "\n"),
		func(value string) bool { return strings.HasPrefix(value, "postmend:") })
	return s
}

// readersOf are the accounts that may read a file by its mode, "everybody" among them; root aside.
func (h *checkedHost) readersOf(path string) []string {
	h.t.Helper()
	info, err := os.Stat(path)
	h.must(err)
	owner := info.Sys().(*syscall.Stat_t)
	var readers []string
	if owner.Uid != 0 && info.Mode()&0o400 != 0 {
		readers = append(readers, h.run("stat", "-c", "%U:%u", path))
	}
	if info.Mode()&0o040 != 0 {
		readers = append(readers, access.GroupSharedBy(int(owner.Gid), peer.Account)...)
	}
	if info.Mode()&0o004 != 0 {
		readers = append(readers, "everybody")
	}
	return readers
}

// isUnharmed compares with what was before the mends. Mail may come to pass postmend only if DNS was asked
// and found right.
func (h *checkedHost) isUnharmed(before standing, mayPass bool) {
	h.t.Helper()
	after := h.standing()
	for content, readers := range after.readers {
		known, isOld := before.readers[content]
		for _, reader := range readers {
			// the account that was made
			isOurs := strings.HasPrefix(reader, peer.Account+":") || h.etc != "" &&
				strings.HasPrefix(reader, "UNKNOWN:")
			if isOld && !isOurs && !slices.Contains(known, reader) {
				h.t.Errorf("%s may read a private file, which it could not before", reader)
			}
		}
	}
	for _, service := range before.services {
		if !slices.Contains(after.services, service) {
			h.t.Errorf("a service of others has changed: %s\n%q", service, after.services)
		}
	}
	if after.kept != before.kept {
		h.t.Errorf("a setting of others has changed:\n%s\nwas\n%s", after.kept, before.kept)
	}
	if after.passes && !before.passes && !mayPass {
		h.t.Error("mail passes postmend, and nobody has asked DNS")
	}
}
