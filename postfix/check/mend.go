package check

import (
	"slices"
	"strings"

	"postmend/postfix/postconf"
)

// set is the command for a line of main.cf.
func (h *host) set(name, value string) string {
	return h.config.SetCommand(postconf.Parameter{Name: name, Value: value}).String()
}

// unset is the command that takes a line out of main.cf.
func (h *host) unset(name string) string { return h.config.UnsetCommand(name).String() }

// setOption is the command for an option of a service. postconf takes no blanks there.
func (h *host) setOption(s *postconf.Service, name, value string) string {
	return h.config.SetOptionCommand(s.ID(), name, strings.Join(postconf.List(value), ",")).String()
}

// setWhere is the command that sets a parameter in master.cf if the service has it as an option, else in
// main.cf.
func (h *host) setWhere(s *postconf.Service, name, value string) string {
	if _, found := s.Options[name]; found {
		return h.setOption(s, name, value)
	}
	return h.setOrUnset(name, value)
}

// setOrUnset is the command that sets a parameter of main.cf, or removes it if the value is empty.
func (h *host) setOrUnset(name, value string) string {
	if value == "" {
		return h.unset(name)
	}
	return h.set(name, value)
}

// planned is what setup would do about services and parameters; "" if it would do nothing.
func (h *host) planned(names ...string) string {
	if h.plan == nil {
		return ""
	}
	var commands []string
	for _, change := range h.plan.Changes {
		if !slices.Contains(names, change.Name) || change.Now == nil {
			continue
		}
		for _, file := range h.plan.Files {
			if strings.Contains(*change.Now, file.Path) {
				commands = append(commands, writeFile(file.Path, strings.TrimSuffix(file.Content, "\n")))
			}
		}
		if change.Service {
			commands = append(commands, h.config.SetServiceCommand(change.Name, *change.Now).String())
		} else {
			commands = append(commands, h.set(change.Name, *change.Now))
		}
	}
	return strings.Join(commands, " && ")
}

// writeFile is the command that writes a file of one line.
func writeFile(path, line string) string {
	return "printf '%s\\n' " + shell(line) + " > " + shell(path)
}

// plannedLine is the entry of master.cf that setup would write.
func (h *host) plannedLine(id string) (line string, found bool) {
	if h.plan == nil {
		return "", false
	}
	for _, change := range h.plan.Changes {
		if change.Service && change.Name == id && change.Now != nil {
			return *change.Now, true
		}
	}
	return "", false
}

// setField is the command for a column of master.cf.
func (h *host) setField(field, value string) string {
	return h.config.SetFieldCommand(field, value).String()
}
