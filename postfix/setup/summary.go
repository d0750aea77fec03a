package setup

import (
	"fmt"
	"path/filepath"
	"strings"

	"postmend/postfix"
)

// mostNamed is how many names stand in a line of setup's output.
const mostNamed = 6

// Summary tells in a few lines what is missing, and so what would be done, with or without what is Postfix's.
func (s *Setup) Summary(withPostfix bool) []string {
	var lines []string
	add := func(verb, format string, args ...any) {
		lines = append(lines, fmt.Sprintf("  %-7s ", verb)+fmt.Sprintf(format, args...))
	}
	h := s.home
	if len(s.changes) > 0 {
		add("use", "mode %s: %s", s.Mode, s.ModeReason)
	}
	if !h.hasUser {
		add("add", "account %s, which runs postmend", h.user)
	}
	if h.text != "" {
		add("write", "%s: host %s, SRS domain %s", h.path, h.config.Hostname, h.config.SRS.Domain)
		add("", "own clients: %s", h.clients())
	}
	if file := h.config.SRS.SecretsFile; file != "" && isMissing(file) {
		add("make", "%s", file)
	}
	var keys []string
	for _, key := range h.config.DKIM.Keys {
		if isMissing(key.File) {
			keys = append(keys, key.Domain)
		}
	}
	if keys != nil {
		add("make", "DKIM %s for %s", postfix.Plural(len(keys), "key"), postfix.ShortList(keys, mostNamed))
	}
	if !withPostfix {
		return lines
	}
	for _, verb := range []string{"add", "change", "remove"} {
		for _, isService := range []bool{true, false} {
			if names := s.plan.named(verb, isService); names != nil {
				add(verb, "%s: %s", map[bool]string{true: "master.cf", false: "main.cf"}[isService],
					postfix.ShortList(names, mostNamed))
			}
		}
	}
	var files []string
	for _, file := range s.plan.Files {
		if file.differs() {
			files = append(files, filepath.Base(file.Path))
		}
	}
	if files != nil {
		add("write", "%s: %s", s.config.Dir, postfix.ShortList(files, mostNamed))
	}
	return lines
}

// named are the parameters or services that are added, changed or removed.
func (p *Plan) named(verb string, isService bool) []string {
	var names []string
	for _, c := range p.Changes {
		is := "change"
		if c.Was == nil {
			is = "add"
		} else if c.Now == nil {
			is = "remove"
		}
		if is == verb && c.Service == isService {
			names = append(names, strings.TrimSuffix(strings.TrimSuffix(c.Name, "/unix"), "/inet"))
		}
	}
	return names
}

// clients are those whose mail is the host's own.
func (h *home) clients() string {
	if len(h.config.TrustedNetworks) == 0 {
		return "127.0.0.0/8, ::1/128"
	}
	var networks []string
	for _, network := range h.config.TrustedNetworks {
		networks = append(networks, network.String())
	}
	return postfix.ShortList(networks, mostNamed)
}
