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

const targetForms = "smtp://HOST:PORT, smtps://HOST:PORT, unix:/PATH, sendmail:/PATH or stdout:"

func parseTarget(name string, o Options) (carrier, error) {
	// A secret in the wrong place must not come back in an error.
	if strings.Contains(name, "@") {
		return nil, errors.New("target holds an @: user and password do not belong into it, set user and password_file")
	}
	if (o.User == "") != (o.PasswordFile == "") {
		return nil, fmt.Errorf("target %q: user and password_file need each other, only one is set", name)
	}
	scheme, rest, _ := strings.Cut(name, ":")
	switch scheme {
	case "smtp", "smtps":
		return parseSMTP(name, scheme, rest, o)
	case "unix":
		if err := checkPath(name, rest); err != nil {
			return nil, err
		}
		return newSMTP(smtpTarget{network: "unix", address: rest, helo: o.ListenerHELOName}, name, o)
	}
	if o.User != "" && (scheme == "sendmail" || scheme == "stdout") {
		return nil, fmt.Errorf("target %q takes no user and password_file: only SMTP does", name)
	}
	switch {
	case scheme == "sendmail":
		return &sendmailTarget{path: rest, spoolDir: o.SpoolDir}, checkPath(name, rest)
	case name == "stdout:":
		return &stdoutTarget{out: o.Stdout}, nil
	}
	return nil, fmt.Errorf("target %q: want %s", name, targetForms)
}

func checkPath(name, path string) error {
	if !strings.HasPrefix(path, "/") || strings.ContainsRune(path, 0) {
		return fmt.Errorf("target %q: want an absolute path after the colon", name)
	}
	return nil
}

// encryption says when a connection turns to TLS.
type encryption int

const (
	plaintext encryption = iota
	opportunistic
	required
	immediate
)

var starttlsModes = map[string]encryption{"never": plaintext, "opportunistic": opportunistic, "required": required}

func parseSMTP(name, scheme, rest string, o Options) (carrier, error) {
	authority, query, hasQuery := strings.Cut(strings.TrimPrefix(rest, "//"), "?")
	host, port, err := net.SplitHostPort(authority)
	if number, portErr := strconv.ParseUint(port, 10, 16); !strings.HasPrefix(rest, "//") || err != nil || host == "" ||
		portErr != nil || number == 0 || strings.Trim(host, hostCharacters) != "" {
		return nil, fmt.Errorf("target %q: want %s://HOST:PORT, an IPv6 address as [::1]:PORT", name, scheme)
	}
	s := smtpTarget{network: "tcp", address: authority, host: host, encryption: immediate}
	if isLoopback(host) {
		s.helo = o.ListenerHELOName
	}
	if scheme == "smtp" {
		s.encryption = defaultEncryption(host, o.User != "")
	}
	if hasQuery {
		mode, found := starttlsModes[strings.TrimPrefix(query, "starttls=")]
		if !found || scheme != "smtp" || !strings.HasPrefix(query, "starttls=") {
			return nil, fmt.Errorf("target %q: after the ? only smtp:// takes something: starttls=never, starttls=opportunistic or starttls=required",
				name)
		}
		s.encryption = mode
	}
	if o.User != "" && s.encryption < required && !isLoopback(host) {
		return nil, fmt.Errorf("target %q: the password would go to an unverified server, or in clear text: use starttls=required or smtps://", name)
	}
	return newSMTP(s, name, o)
}

const hostCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:%"

func defaultEncryption(host string, withUser bool) encryption {
	switch {
	case isLoopback(host):
		return plaintext
	case withUser:
		return required
	}
	return opportunistic
}

// isLoopback takes the name localhost for what it says (RFC 6761 section 6.3); before a password goes out, the address of the
// connection itself is looked at again.
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
		return nil, fmt.Errorf("host name %+.100q cannot be sent in EHLO: want printable ASCII without blanks", s.helo)
	}
	s.user, s.passwordFile, s.rootCAs = o.User, o.PasswordFile, o.RootCAs
	if strings.ContainsRune(s.user, 0) {
		return nil, fmt.Errorf("target %q: user holds a NUL", name)
	}
	return &s, nil
}
