package check

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
	"postmend/postfix/setup"
)

// pipe is the command of a pipe(8) service as master.cf has it: pipe -o … attributes argv=…
type pipe struct {
	options    []string            // what stands before the attributes, each -o with its value in two words
	attributes map[string][]string // flags, user, null_sender…; a good one has one value
	// options behind the first attribute, where pipe(8) takes them for attributes
	misplaced []string
	argv      []string
}

// words splits as Postfix does: at blanks, but not within braces, which are then taken away (master(5)).
func words(s string) []string {
	var list []string
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		if s == "" {
			return list
		}
		end := strings.IndexAny(s, " \t\r\n")
		if end < 0 {
			end = len(s)
		}
		if s[0] != '{' {
			list, s = append(list, s[:end]), s[end:]
			continue
		}
		if end = postconf.ClosingBrace(s); end < 0 {
			return append(list, s)
		}
		list, s = append(list, strings.TrimSpace(s[1:end-1])), s[end:]
	}
}

// join is the inverse of words.
func join(list []string) string {
	quoted := make([]string, len(list))
	for i, word := range list {
		quoted[i] = word
		if word == "" || strings.ContainsAny(word, " \t") || word[0] == '{' {
			quoted[i] = "{" + word + "}"
		}
	}
	return strings.Join(quoted, " ")
}

// parsePipe reads the command of a pipe(8) service.
func parsePipe(s postconf.Service) *pipe {
	list := words(s.Line)
	list = list[min(8, len(list)):]
	p := &pipe{attributes: map[string][]string{}}
	for i := 0; i < len(list); i++ {
		word := list[i]
		name, value, assigned := strings.Cut(word, "=")
		switch {
		case word == "-o" && i+1 < len(list):
			i++
			if len(p.attributes) > 0 {
				p.misplaced = append(p.misplaced, "-o", list[i])
			} else {
				p.options = append(p.options, "-o", list[i])
			}
		case strings.HasPrefix(word, "-"):
			p.options = append(p.options, word)
		case strings.EqualFold(name, "argv") && assigned:
			p.argv = append([]string{value}, list[i+1:]...)
			if value == "" {
				p.argv = p.argv[1:]
			}
			return p
		default:
			name = strings.ToLower(name)
			p.attributes[name] = append(p.attributes[name], value)
		}
	}
	return p
}

// withoutOption drops -o name=… from the words before the attributes.
func withoutOption(options []string, name string) []string {
	var rest []string
	for i := 0; i < len(options); i++ {
		if options[i] == "-o" && i+1 < len(options) {
			assigned, _, _ := strings.Cut(options[i+1], "=")
			if strings.TrimSpace(assigned) == name {
				i++
				continue
			}
		}
		rest = append(rest, options[i])
	}
	return rest
}

func (p *pipe) attribute(name string) (value string, found bool) {
	values := p.attributes[name]
	if len(values) == 0 {
		return "", false
	}
	return values[len(values)-1], true
}

// configFile is what -c in argv names.
func (p *pipe) configFile() string { return cmp.Or(p.flag("-c"), p.flag("--config")) }

// lack is what happens without a flag of `postmend filter`.
type lack struct {
	severity Severity
	why      string
}

// withoutFlag tells of each of layout.Macros.
func withoutFlag(flag string) lack {
	switch flag {
	case "--queue-id":
		return lack{Warning, "the log does not tell which message a line is about"}
	case "--client-address":
		return lack{Error, "all mail counts as this host's own, and is signed unchecked"}
	case "--client-name", "--client-port", "--client-protocol":
		return lack{Warning, "the trace field does not name the client"}
	case "--helo":
		return lack{Error, "SPF of bounces cannot be checked"}
	case "--sasl-username":
		return lack{Error, "mail of users who log in counts as mail from outside"}
	case "--size":
		return lack{Error, "a truncated message is not noticed"}
	case "--original-recipient":
		return lack{Error, "From: cannot be rewritten to the alias that forwards"}
	case "--envid":
		return lack{Note, "the DSN envelope id is lost"}
	}
	return lack{Error, "postmend filter is not told what it needs"}
}

// flag gives the value of a flag in argv, in one word or two.
func (p *pipe) flag(name string) string {
	for i, word := range p.argv {
		if value, found := strings.CutPrefix(word, name+"="); found {
			return value
		}
		if word == name && i+1 < len(p.argv) {
			return p.argv[i+1]
		}
	}
	return ""
}

// macros gives the names that pipe(8) expands in a word.
func macros(word string) []string {
	var names []string
	for {
		_, rest, found := strings.Cut(word, "$")
		if !found {
			return names
		}
		word = strings.TrimPrefix(rest, "$")
		if len(word) < len(rest) { // $$ is a plain $
			continue
		}
		name := strings.TrimLeft(rest, "{(")
		end := strings.IndexFunc(name, func(r rune) bool {
			return !(r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
		})
		if end < 0 {
			end = len(name)
		}
		names = append(names, name[:end])
		word = name[end:]
	}
}

// macroSince gives the version that brought a macro of pipe(8); 2.11 and what was before count as always
// there.
func macroSince(name string) (since postconf.Version, known bool) {
	switch name {
	case "sender", "recipient", "user", "extension", "mailbox", "nexthop", "size", "domain",
		"client_address", "client_helo", "client_hostname", "client_port", "client_protocol",
		"sasl_method", "sasl_sender", "sasl_username", "original_recipient", "queue_id":
		return postconf.Version{}, true
	case "envid":
		return postconf.Version{Major: 3, Minor: 9}, true
	}
	return postconf.Version{}, false
}

// isMacro tells whether a word is one macro and nothing else.
func isMacro(word, name string) bool {
	return word == "${"+name+"}" || word == "$("+name+")" || word == "$"+name
}

// carries tells whether a flag of argv has the macro as its value.
func (p *pipe) carries(flag, macro string) bool { return isMacro(p.flag(flag), macro) }

// isOurs tells whether the service runs `postmend filter`.
func (p *pipe) isOurs() bool {
	return len(p.argv) > 0 && layout.IsProgram(p.argv[0]) && slices.Contains(p.argv, "filter")
}

func judgeRecipientLimit(h *host) []fault {
	name := h.filter.Name + "_destination_recipient_limit"
	wanted := layout.Recipients(h.mode == setup.Transport).Value
	most, _ := strconv.Atoi(wanted)
	value := h.Main(name)
	if n, err := strconv.Atoi(value); err != nil || n < 1 || n > most {
		return one(name+" is "+value, h.set(name, wanted))
	}
	return nil
}

// judgeProcesses finds a limit of processes (master(5)) that is too low for a burst of mail whose DNS does
// not answer.
func judgeProcesses(h *host) []fault {
	const enough = layout.Processes
	limit, name := h.filter.ProcessLimit, "process limit in master.cf"
	if limit == "-" {
		limit, name = h.Main("default_process_limit"), "default_process_limit"
	}
	if n, err := strconv.Atoi(limit); err != nil || n == 0 || n >= enough/2 {
		return nil
	}
	return one(fmt.Sprintf("the %s is %s", name, limit),
		h.setField(h.filter.ID()+"/process_limit", strconv.Itoa(enough)))
}
