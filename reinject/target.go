package reinject

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// DefaultTarget is the re-injection listener that `postmend setup` makes.
const DefaultTarget = "smtp://127.0.0.1:10026"

// Scheme is the kind of a target.
type Scheme string

// The schemes of targets, see Options.Target.
const (
	SMTP     Scheme = "smtp"
	SMTPS    Scheme = "smtps"
	Unix     Scheme = "unix"
	Sendmail Scheme = "sendmail"
	Stdout   Scheme = "stdout"
)

// Target is a parsed Options.Target.
type Target struct {
	Scheme Scheme
	Host   string // of smtp and smtps: a name or an address, IPv6 without brackets
	Port   uint16 // of smtp and smtps
	Path   string // of unix and sendmail: absolute

	starttls string // what stands after ?starttls=; "" if nothing does
}

const targetForms = "smtp://HOST:PORT, smtps://HOST:PORT, unix:/PATH, sendmail:/PATH or stdout:"

// ParseTarget reads one of the forms of Options.Target. Its error never repeats a password.
func ParseTarget(name string) (Target, error) {
	if strings.Contains(name, "@") {
		return Target{}, errors.New(
			"target contains an @: user and password do not belong in it, set user and password_file")
	}
	scheme, rest, _ := strings.Cut(name, ":")
	t := Target{Scheme: Scheme(scheme)}
	switch {
	case t.Scheme == SMTP || t.Scheme == SMTPS:
		return t, t.parseAuthority(name, rest)
	case t.Scheme == Unix || t.Scheme == Sendmail:
		if !strings.HasPrefix(rest, "/") || strings.ContainsRune(rest, 0) {
			return Target{}, fmt.Errorf("target %q: expected an absolute path after the colon", name)
		}
		t.Path = rest
		return t, nil
	case name == "stdout:":
		return t, nil
	}
	return Target{}, fmt.Errorf("target %q: expected %s", name, targetForms)
}

// parseAuthority reads what follows "smtp:": //HOST:PORT, and ?starttls=MODE.
func (t *Target) parseAuthority(name, rest string) error {
	rest, slashes := strings.CutPrefix(rest, "//")
	authority, query, hasQuery := strings.Cut(rest, "?")
	host, port, err := net.SplitHostPort(authority)
	number, portErr := strconv.ParseUint(port, 10, 16)
	if !slashes || err != nil || host == "" || portErr != nil || number == 0 ||
		strings.Trim(host, hostCharacters) != "" {
		return fmt.Errorf("target %q: expected %s://HOST:PORT, an IPv6 address as [::1]:PORT", name, t.Scheme)
	}
	t.Host, t.Port = host, uint16(number)
	if !hasQuery {
		return nil
	}
	mode, isSTARTTLS := strings.CutPrefix(query, "starttls=")
	if _, known := starttlsModes[mode]; !known || !isSTARTTLS || t.Scheme != SMTP {
		return fmt.Errorf("target %q: only smtp:// takes an option after the ?: "+
			"starttls=never, starttls=opportunistic or starttls=required", name)
	}
	t.starttls = mode
	return nil
}

// Address is HOST:PORT of smtp and smtps, an IPv6 address in brackets; the path of the others.
func (t Target) Address() string {
	if t.Host == "" {
		return t.Path
	}
	return net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port)))
}

// IsLocal tells whether the target is on this host: loopback, localhost, a socket, a program.
func (t Target) IsLocal() bool { return t.Host == "" || isLoopback(t.Host) }

// carrier makes the carrier for the target. Its errors name the target.
func (t Target) carrier(name string, o Options) (carrier, error) {
	if (o.User == "") != (o.Password == nil) {
		return nil, fmt.Errorf("target %q: set both user and password_file, or neither", name)
	}
	switch {
	case o.RootCAs != nil && t.Host == "":
		return nil, fmt.Errorf("target %q takes no ca_file: only smtp:// and smtps:// do", name)
	case t.Scheme == Unix:
		return newSMTP(smtpTarget{network: "unix", address: t.Path, helo: o.ListenerHELOName}, name, o)
	case t.Host != "":
		return t.smtp(name, o)
	case o.User != "":
		return nil, fmt.Errorf("target %q takes no user and password_file: only SMTP does", name)
	case t.Scheme == Sendmail:
		return &sendmailTarget{path: t.Path, spoolDir: o.SpoolDir}, nil
	}
	return &stdoutTarget{out: o.Stdout}, nil
}

// encryption says whether and when a connection uses TLS.
type encryption int

const (
	plaintext encryption = iota
	opportunistic
	required
	immediate
)

var starttlsModes = map[string]encryption{"never": plaintext, "opportunistic": opportunistic,
	"required": required}

func (t Target) smtp(name string, o Options) (carrier, error) {
	s := smtpTarget{network: "tcp", address: t.Address(), host: t.Host, encryption: immediate}
	if isLoopback(t.Host) {
		s.helo = o.ListenerHELOName
	}
	if mode, set := starttlsModes[t.starttls]; set {
		s.encryption = mode
	} else if t.Scheme == SMTP {
		s.encryption = defaultEncryption(t.Host, o.User != "" || o.RootCAs != nil)
	}
	if o.User != "" && s.encryption < required && !isLoopback(t.Host) {
		return nil, fmt.Errorf("target %q: the password would go to an unverified server, or in clear text: "+
			"use starttls=required or smtps://", name)
	}
	if o.RootCAs != nil && s.encryption < required {
		return nil, fmt.Errorf("target %q: the server's certificate is not verified, so ca_file has no "+
			"effect: use starttls=required or smtps://", name)
	}
	return newSMTP(s, name, o)
}

const hostCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:%"

func defaultEncryption(host string, verified bool) encryption {
	switch {
	case isLoopback(host):
		return plaintext
	case verified:
		return required
	}
	return opportunistic
}

// isLoopback accepts the name localhost (RFC 6761 section 6.3). Before a password is sent, the address of the
// connection itself is checked.
func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

func newSMTP(s smtpTarget, name string, o Options) (carrier, error) {
	if s.helo == "" {
		s.helo = o.HELOName
	}
	if s.helo == "" {
		s.helo, _ = os.Hostname()
	}
	if s.helo == "" {
		s.helo = "localhost"
	}
	if len(s.helo) > 255 || strings.ContainsFunc(s.helo, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf(
			"host name %+.100q cannot be sent in EHLO: it must be printable ASCII without blanks", s.helo)
	}
	s.user, s.password, s.rootCAs = o.User, o.Password, o.RootCAs
	if o.KeepIdle > 0 {
		s.pool = &pool{limit: o.KeepIdle}
	}
	if strings.ContainsRune(s.user, 0) {
		return nil, fmt.Errorf("target %q: user contains a NUL", name)
	}
	return &s, nil
}
