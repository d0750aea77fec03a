package postconf

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Service is an entry of master.cf.
type Service struct {
	Name, Type string // "smtp", "inet"
	// The columns as written, "-" being the default.
	Private, Unprivileged, Chroot, Wakeup, ProcessLimit string
	// Program is the daemon: "smtpd", "pipe".
	Program string
	// Options are the parameters set with -o, $names as written.
	Options map[string]string
	// Arguments is what follows the options: "flags=q user=… argv=…" of a pipe, "" mostly.
	Arguments string
	// Line is the whole entry as `postconf -M` prints it.
	Line string
}

// ID is the name that postconf has for the service, "smtp/inet".
func (s Service) ID() string { return s.Name + "/" + s.Type }

// Port is the number of the TCP port of an inet service, whose name is "host:port" or "port"; "" if it has
// none.
func (s Service) Port() string {
	number, err := net.LookupPort("tcp", s.Name[strings.LastIndexByte(s.Name, ':')+1:])
	if s.Type != "inet" || err != nil {
		return ""
	}
	return strconv.Itoa(number)
}

// Services are the entries of master.cf, in their order.
func (c *Config) Services() []Service { return c.services }

// Service finds an entry by its ID.
func (c *Config) Service(id string) (Service, bool) {
	for _, s := range c.services {
		if s.ID() == id {
			return s, true
		}
	}
	return Service{}, false
}

// parseServices takes what `postconf -M` and `postconf -P` print.
func (c *Config) parseServices(entries, options string) ([]Service, error) {
	var services []Service
	index := map[string]int{}
	for line := range strings.Lines(entries) {
		s, err := parseService(strings.TrimSpace(line))
		if err != nil {
			return nil, fmt.Errorf("%s/master.cf: %w", c.Dir, err)
		}
		index[s.ID()] = len(services)
		services = append(services, s)
	}
	for name, value := range parameters(options) {
		// The name of an inet service may be an address, and that of a Unix-domain socket may have slashes.
		slash := strings.LastIndexByte(name, '/')
		if slash < 0 {
			continue
		}
		if i, found := index[name[:slash]]; found {
			services[i].Options[name[slash+1:]] = value
		}
	}
	return services, nil
}

// parseService cuts an entry into its columns; -P tells the options.
func parseService(line string) (Service, error) {
	s := Service{Line: line, Options: map[string]string{}}
	rest := line
	for _, column := range []*string{&s.Name, &s.Type, &s.Private, &s.Unprivileged, &s.Chroot, &s.Wakeup,
		&s.ProcessLimit, &s.Program} {
		if *column, rest = nextWord(rest); *column == "" {
			return s, fmt.Errorf("entry %q has fewer than eight columns", line)
		}
	}
	for strings.HasPrefix(rest, "-") {
		var word string
		if word, rest = nextWord(rest); word == "-o" {
			_, rest = nextWord(rest)
		}
	}
	s.Arguments = rest
	return s, nil
}

// nextWord cuts the first word off; one that starts with a brace ends with the brace that belongs to it.
func nextWord(s string) (word, rest string) {
	s = strings.TrimLeft(s, " \t")
	end := strings.IndexAny(s, " \t")
	if strings.HasPrefix(s, "{") {
		end = ClosingBrace(s)
	}
	if end < 0 {
		return s, ""
	}
	return s[:end], strings.TrimLeft(s[end:], " \t")
}

// ClosingBrace gives the place after the brace that closes the first one, -1 if none does.
func ClosingBrace(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}
