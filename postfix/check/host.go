package check

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"postmend/postfix/access"
	"postmend/postfix/layout"
	"postmend/postfix/postconf"
	"postmend/postfix/setup"
	"postmend/reinject"
)

// postmend is what the rules have to know of our own side.
type postmend struct {
	Program     string            // this program's path: it can stand in for one that is missing
	ConfigFile  string            // the configuration that is checked
	Text        string            // of it; "" if it cannot be read
	Hostname    string            // "" if the configuration cannot be read
	Owners      []string          // the accounts that the secret and the keys belong to, root aside
	Secrets     access.File       // of [srs]; the zero value without SRS
	HasKeys     bool              // there are [[dkim.keys]]
	NewAuthor   string            // in a rewritten From: if the alias cannot be; "" without keys
	Target      string            // [reinject] target; "" if that is not known
	Deadline    time.Duration     // [limits] deadline
	SpoolDir    string            // [limits] spool_dir, or what stands for it; "" if that is not known
	SRSDomain   string            // "" without SRS
	Local       []string          // the names in local_domains, without those that stand for subdomains
	IsLocal     func(string) bool // whether a domain is one of local_domains; nil if that is not known
	Trusted     []netip.Prefix    // trusted_networks; nil if not known
	LocalTables []string          // local_domains_maps
	Seals       bool              // [arrival] seal
	HasSecrets  bool              // [srs] has a file of secrets
	// SpamRedirect is where a rule of [[spam]] redirects to; "" if none does
	SpamRedirect string
}

// host is what was found out about a Postfix. gather makes it.
type host struct {
	postmend
	config   *postconf.Config // as written
	expanded *postconf.Config // with $names replaced
	// the pipe(8) service that runs us, or the lmtp(8) service that leads to postmend serve; nil if there is
	// none. Services are the expanded ones
	filter   *postconf.Service
	command  *pipe             // the command of pipe(8); nil with lmtp(8)
	listener *postconf.Service // the smtpd(8) at our target; nil if there is none
	// the smtpd(8) at our target, if it takes mail from others, and so cannot be the listener; else nil
	public    *postconf.Service
	instances []*postconf.Config // the other ones on this host
	// what pipe_delivery_status_filter makes of status lines; nil if it was not asked
	statuses  map[string]string
	statusErr error
	program   access.File  // what argv starts
	user      *access.User // who it runs as
	account   *access.User // who it should run as
	userErr   error
	spool     access.File
	spoolFree int64           // octets; -1 if unknown
	domains   *setup.Domains  // those that Postfix delivers or relays
	wanted    setup.Wanted    // what setup would be told to make
	plan      *setup.Plan     // what setup would change; nil if it would refuse to
	actions   []setup.NextHop // FILTER actions of access(5) and header_checks(5)
	tables    []*table        // spawn(8) services that run `postmend lookup`
	srsClass  string          // the parameter that holds the SRS domain; "" if none does
	mode      setup.Mode      // that Postfix uses, or that setup would choose
	dns       stage           // whether the DNS records are right
	// tables that take a seal of arrival out of a message, and how
	sealStrippers []string
	lmtpAddress   string          // of postmend; "" without lmtp(8), or if that has no valid one
	otherHops     []setup.NextHop // of what leads mail to postmend's transport by LMTP
	lmtpErr       error           // why postmend serve takes no mail, or why there is no address
	milterErr     error           // why our milter does not answer; nil if it does, or there is none
	gateway       netip.Addr      // of the container that this is; the zero value outside of one
	system        *system         // Postfix's own folder; nil if the configuration is that one
}

// table is a service that answers look-ups.
type table struct {
	*postconf.Service
	command             *pipe
	direction, protocol string
	user                *access.User
	userErr             error
	program             access.File
}

// system is the main.cf that sendmail(1) reads first.
type system struct{ dir, alternates, instances string }

// Main gives a parameter of main.cf, $names replaced.
func (h *host) Main(name string) string { return h.expanded.Get(name) }

func (h *host) version() postconf.Version { return h.config.Version }

// value is a parameter as a service sees it, $names replaced.
func (h *host) value(s *postconf.Service, name string) string {
	if value, found := s.Options[name]; found {
		return value
	}
	return h.Main(name)
}

// transport is the name of the transport in a value such as content_filter's.
func transport(value string) string {
	name, _, _ := strings.Cut(value, ":")
	return strings.TrimSpace(name)
}

// duration reads a time of main.cf, such as 300s or 5d; ok is false for anything else.
func duration(value string) (d time.Duration, ok bool) {
	unit := time.Second
	for suffix, length := range map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour,
		"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if number, found := strings.CutSuffix(value, suffix); found {
			value, unit = number, length
			break
		}
	}
	n, err := strconv.Atoi(value)
	return time.Duration(n) * unit, err == nil
}

// inChroot tells what the column chroot comes to; its default changed with compatibility level 1.
func (h *host) inChroot(s *postconf.Service) bool {
	level := h.Main("compatibility_level")
	return s.Chroot == "y" || s.Chroot == "-" && (level == "" || level == "0")
}

func (h *host) servicesOf(program string) []*postconf.Service {
	var found []*postconf.Service
	services := h.expanded.Services()
	for i := range services {
		if services[i].Program == program {
			found = append(found, &services[i])
		}
	}
	return found
}

// isFiltered tells whether mail that a service takes goes through us.
func (h *host) isFiltered(s *postconf.Service) bool {
	return transport(h.value(s, "content_filter")) == h.filterName()
}

// fronts are the smtpd(8) services that take mail from others.
func (h *host) fronts() []*postconf.Service {
	return slices.DeleteFunc(h.servicesOf("smtpd"), func(s *postconf.Service) bool { return s == h.listener })
}

// isPublic tells whether a service takes mail from others: by its port, or because it listens to everybody
// and does not look as if it took filtered mail back. It is not ours to change.
func (h *host) isPublic(s *postconf.Service) bool {
	if s.Type != "inet" {
		return false
	}
	if slices.Contains([]string{"25", "465", "587"}, s.Port()) {
		return true
	}
	bound, _ := cutHost(s.Name)
	isOpen := !isLoopback(bound) && (bound != "" || !onlyLoopback(h.Main("inet_interfaces")))
	return isOpen && !takesBack(s)
}

// takesBack tells whether a service obviously receives mail back from a filter.
func takesBack(s *postconf.Service) bool {
	_, filters := s.Options["content_filter"]
	return s.Options["syslog_name"] == layout.ListenerLog || filters &&
		strings.Contains(s.Options["receive_override_options"], "no_address_mappings")
}

// spareListener is a service that takes mail back and is not at our target: one that setup made, or else
// another; nil if there is none.
func (h *host) spareListener() *postconf.Service {
	var spare *postconf.Service
	for _, s := range h.servicesOf("smtpd") {
		if s.Type != "inet" || s == h.listener || h.isPublic(s) || !takesBack(s) {
			continue
		}
		if spare == nil || s.Options["syslog_name"] == layout.ListenerLog {
			spare = s
		}
	}
	return spare
}

// targetAt is the target that leads to a service of this host.
func targetAt(s *postconf.Service) string {
	bound, _ := cutHost(s.Name)
	if bound == "" || bound == "localhost" {
		bound = "127.0.0.1"
	}
	return "smtp://" + net.JoinHostPort(bound, s.Port())
}

// filterName is the name of our service in content_filter and default_transport. They keep it if the service
// is lost from master.cf.
func (h *host) filterName() string {
	if h.filter != nil {
		return h.filter.Name
	}
	return layout.Transport
}

// isTransport tells whether we are the transport of what leaves.
func (h *host) isTransport() bool {
	return transport(h.Main("default_transport")) == h.filterName()
}

// isContentFilter tells whether we filter what arrives.
func (h *host) isContentFilter() bool {
	return transport(h.Main("content_filter")) == h.filterName() ||
		slices.ContainsFunc(h.fronts(), h.isFiltered)
}

// listenerAddress is where on this host our target is; ok is false for a target elsewhere.
func listenerAddress(target string) (kind, address string, ok bool) {
	parsed, err := reinject.ParseTarget(target)
	switch {
	case err != nil:
		return "", "", false
	case parsed.Scheme == reinject.Unix:
		return "unix", filepath.Clean(parsed.Path), true
	}
	return "inet", parsed.Address(), parsed.Scheme == reinject.SMTP && parsed.IsLocal()
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// listensAt tells whether a service is what answers at an address.
func (h *host) listensAt(s *postconf.Service, kind, address string) bool {
	if s.Type != kind {
		return false
	}
	if kind == "unix" {
		folder := "private"
		if s.Private == "n" {
			folder = "public"
		}
		return filepath.Join(h.Main("queue_directory"), folder, s.Name) == address
	}
	host, port, _ := net.SplitHostPort(address)
	bound, name := cutHost(s.Name)
	number, err := net.LookupPort("tcp", name)
	if err != nil || strconv.Itoa(number) != port {
		return false
	}
	return bound == "" || bound == host || isLoopback(bound) && isLoopback(host) &&
		(bound == "localhost" || host == "localhost")
}

// cutHost cuts the name of an inet service, "host:port" or "port".
func cutHost(name string) (host, port string) {
	at := strings.LastIndexByte(name, ':')
	if at < 0 {
		return "", name
	}
	return strings.Trim(name[:at], "[]"), name[at+1:]
}

// absent says why a file could not be looked at, without its path.
func absent(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "does not exist"
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Sprintf("cannot be looked at: %v", err)
}
