package filter

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/BurntSushi/toml"

	"postmend/filter/domain"
	"postmend/reinject"
)

// DefaultConfigFile is read if -c names no other file.
const DefaultConfigFile = "/etc/postmend/postmend.toml"

// Config is the configuration file. The zero value of a setting means its default, which stands beside it.
// Paths that are not absolute are taken from the configuration file's folder.
type Config struct {
	// Hostname names this host, also as the authserv-id. Default: the system's.
	Hostname string `toml:"hostname"`
	// LocalDomains are the domains that are delivered here; a leading dot stands for all subdomains.
	// LocalDomainsFile adds one per line; blank lines and lines that start with # do not count.
	LocalDomains     []string `toml:"local_domains"`
	LocalDomainsFile string   `toml:"local_domains_file"`
	// LocalDomainsMaps are Postfix tables, "hash:/etc/postfix/virtual", that have further local domains as
	// their keys.
	LocalDomainsMaps []string `toml:"local_domains_maps"`
	// Resolver is the "host:port" of a DNS server. Default: the system's.
	Resolver string `toml:"resolver"`
	// OutboundAddresses are where mail leaves from, as other hosts see it, including relays: addresses,
	// prefixes, host names. Default: the addresses of Hostname in DNS.
	OutboundAddresses []string `toml:"outbound_addresses"`
	// TrustedNetworks are the clients whose mail is our own outgoing mail. Default: 127.0.0.0/8 and ::1/128.
	TrustedNetworks []netip.Prefix `toml:"trusted_networks"`
	// TrustedAuthservIDs are the authserv-ids of our own filters that run before postmend; their
	// Authentication-Results are believed.
	TrustedAuthservIDs []string `toml:"trusted_authserv_ids"`

	SRS      SRSConfig      `toml:"srs"`
	DKIM     DKIMConfig     `toml:"dkim"`
	DMARC    DMARCConfig    `toml:"dmarc"`
	ARC      ARCConfig      `toml:"arc"`
	Arrival  ArrivalConfig  `toml:"arrival"`
	Reinject ReinjectConfig `toml:"reinject"`
	Limits   LimitsConfig   `toml:"limits"`
	Log      LogConfig      `toml:"log"`
}

// SRSConfig is the section [srs]. Without a domain no sender is rewritten.
type SRSConfig struct {
	Domain      string   `toml:"domain"`
	SecretsFile string   `toml:"secrets_file"` // one secret a line: the first signs, all verify
	Separator   string   `toml:"separator"`    // "=", "+" or "-"; default "="
	MaxAge      Duration `toml:"max_age"`      // default 21 days
	HashLength  int      `toml:"hash_length"`  // default and least 4
}

// DKIMConfig is the section [dkim].
type DKIMConfig struct {
	Keys []KeyConfig `toml:"keys"`
	// DefaultDomain signs forwarded mail. Default: the domain of the first key.
	DefaultDomain string `toml:"default_domain"`
}

// KeyConfig is one section [[dkim.keys]]. Several of one domain all sign.
type KeyConfig struct {
	Domain   string `toml:"domain"`
	Selector string `toml:"selector"`
	File     string `toml:"file"`
}

// DMARCConfig is the section [dmarc].
type DMARCConfig struct {
	MungeFrom          string `toml:"munge_from"`            // "when-needed" (default), "never", "always"
	OnDMARCFail        string `toml:"on_dmarc_fail"`         // "forward" (default), "reject", "discard"
	OnOwnDomainForgery string `toml:"on_own_domain_forgery"` // "policy" (default), "reject", "forward"
	// FromAddress is the address in a rewritten From:. Default: the alias that forwards.
	FromAddress string `toml:"from_address"`
	// ForceMunge are author domains whose From: is rewritten whenever DMARC passed on arrival, ForbidMunge
	// those whose From: is never rewritten; a leading dot stands for all subdomains. ForceMungeFile adds one
	// domain per line.
	ForceMunge     []string `toml:"force_munge"`
	ForceMungeFile string   `toml:"force_munge_file"`
	ForbidMunge    []string `toml:"forbid_munge"`
}

// ARCConfig is the section [arc].
type ARCConfig struct {
	Seal *bool `toml:"seal"` // default true
	// Domain and Selector name the key, one of [[dkim.keys]]. Default: the first RSA key of DKIM's default
	// domain.
	Domain   string `toml:"domain"`
	Selector string `toml:"selector"`
	// OnlyFor are the recipients' domains that mail is sealed for; a leading dot stands for all subdomains.
	// Default: all.
	OnlyFor []string `toml:"only_for"`
}

// ArrivalConfig is the section [arrival].
type ArrivalConfig struct {
	Seal   *bool    `toml:"seal"`    // default true; without it no seal is written, removed or read
	MaxAge Duration `toml:"max_age"` // of a seal that is read; default 5 days, least 1s
}

// Seals tells whether seals are written, removed and read.
func (a *ArrivalConfig) Seals() bool { return a.Seal == nil || *a.Seal }

// ReinjectConfig is the section [reinject].
type ReinjectConfig struct {
	Target       string `toml:"target"` // default smtp://127.0.0.1:10026
	User         string `toml:"user"`
	PasswordFile string `toml:"password_file"`
}

// LimitsConfig is the section [limits].
type LimitsConfig struct {
	Deadline    Duration `toml:"deadline"`     // of a whole run; default 60s
	DNSDeadline Duration `toml:"dns_deadline"` // of all look-ups of a run together; default 10s
	DNSPatience Duration `toml:"dns_patience"` // for how long DNS trouble may keep a message in the queue; default 1h
	MemorySpool Size     `toml:"memory_spool"` // default and least 1MiB
	SpoolDir    string   `toml:"spool_dir"`    // default: the system's temporary directory
}

// LogConfig is the section [log].
type LogConfig struct {
	Socket string `toml:"socket"` // syslog's Unix-domain socket; default /dev/log
}

// Duration reads time.ParseDuration's form and whole days, "21d".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if days, found := strings.CutSuffix(s, "d"); found {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n <= 36500 {
			*d = Duration(time.Duration(n) * 24 * time.Hour)
			return nil
		}
	} else if v, err := time.ParseDuration(s); err == nil && v > 0 {
		*d = Duration(v)
		return nil
	}
	return fmt.Errorf(`%q is not a duration such as "60s", "1h" or "21d"`, s)
}

// Size is a number of octets; it reads "65536", "64KiB", "1MiB", "1GiB".
type Size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (z *Size) UnmarshalText(text []byte) error {
	s, shift := string(text), 0
	for i, unit := range [...]string{"KiB", "MiB", "GiB"} {
		if number, found := strings.CutSuffix(s, unit); found {
			s, shift = strings.TrimSpace(number), 10*(i+1)
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return fmt.Errorf(`%q is not a size such as "64KiB" or "1MiB"`, text)
	}
	*z = Size(n << shift)
	return nil
}

// LoadConfig reads and checks a configuration file. An unknown key is an error that names the key and its
// line.
func LoadConfig(path string) (*Config, error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, configError(path, err)
	}
	c, err := parseConfig(text)
	if err != nil {
		return nil, configError(path, err)
	}
	if err := c.complete(filepath.Dir(path)); err != nil {
		return nil, configError(path, err)
	}
	return c, nil
}

func configError(path string, err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		err = fmt.Errorf("%w (uid %d)", err, os.Geteuid()) // the path is in it
	} else {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return configFailure(err)
}

func configFailure(err error) *Failure {
	return &Failure{Kind: Configuration, Reason: "configuration error, see the mail log", Err: err}
}

// readBounded reads a file of the operator's. A mistyped path may name a device or a large log: 4 MiB are
// enough.
func readBounded(path string) ([]byte, error) {
	// Without O_NONBLOCK, opening a pipe in the file's place would block.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil {
		return nil, err
	} else if info.Mode()&os.ModeNamedPipe != 0 {
		return nil, fmt.Errorf("%s is a pipe, not a file", path)
	}
	const limit = 4 << 20
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && len(text) > limit {
		err = fmt.Errorf("%s is larger than 4 MiB", path)
	}
	return text, err
}

func parseConfig(text []byte) (*Config, error) {
	c := &Config{}
	meta, err := toml.Decode(string(text), c)
	if err != nil {
		return nil, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		key := unknown[0].String()
		return nil, &UnknownKeyError{Key: key, Line: LineOfKey(text, key)}
	}
	return c, nil
}

// complete fills in defaults and checks what can be checked without touching a key, a secret or the network.
func (c *Config) complete(dir string) error {
	if c.Hostname == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("hostname: %w", err)
		}
		c.Hostname = name
	}
	if c.TrustedNetworks == nil {
		c.TrustedNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	setDefault(&c.Reinject.Target, reinject.DefaultTarget)
	setDefault(&c.SRS.Separator, "=")
	setDefault(&c.SRS.MaxAge, Duration(21*24*time.Hour))
	setDefault(&c.Arrival.MaxAge, Duration(5*24*time.Hour))
	setDefault(&c.Limits.Deadline, Duration(time.Minute))
	setDefault(&c.Limits.DNSDeadline, Duration(10*time.Second))
	setDefault(&c.Limits.DNSPatience, Duration(time.Hour))
	setDefault(&c.Limits.MemorySpool, Size(1<<20))
	setDefault(&c.Log.Socket, "/dev/log")
	setDefault(&c.DMARC.MungeFrom, "when-needed")
	setDefault(&c.DMARC.OnDMARCFail, "forward")
	setDefault(&c.DMARC.OnOwnDomainForgery, "policy")
	if len(c.DKIM.Keys) > 0 {
		setDefault(&c.DKIM.DefaultDomain, c.DKIM.Keys[0].Domain)
	}
	for _, path := range []*string{&c.LocalDomainsFile, &c.DMARC.ForceMungeFile, &c.SRS.SecretsFile, &c.Reinject.PasswordFile,
		&c.Limits.SpoolDir, &c.Log.Socket} {
		absolute(path, dir)
	}
	for i := range c.DKIM.Keys {
		absolute(&c.DKIM.Keys[i].File, dir)
	}
	return c.check()
}

func setDefault[T comparable](setting *T, value T) {
	var unset T
	if *setting == unset {
		*setting = value
	}
}

func absolute(path *string, dir string) {
	if *path != "" && !filepath.IsAbs(*path) {
		*path = filepath.Join(dir, *path)
	}
}

func (c *Config) check() error {
	var err error
	if c.Hostname, err = domain.Parse(c.Hostname); err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	if _, err := parseOutbound(c.OutboundAddresses, c.Hostname); err != nil {
		return err
	}
	if c.SRS.Domain != "" && c.SRS.SecretsFile == "" {
		return errors.New("srs: domain is set, but secrets_file is not")
	}
	if len(c.SRS.Separator) != 1 {
		return fmt.Errorf("srs: separator %q is not one of = + -", c.SRS.Separator)
	}
	if c.SRS.Domain != "" {
		if err := c.SRS.options().Check(); err != nil {
			return err
		}
	}
	if time.Duration(c.Arrival.MaxAge) < time.Second {
		return errors.New("arrival: max_age is less than a second")
	}
	for i := range c.DKIM.Keys {
		key := &c.DKIM.Keys[i]
		if key.Domain, err = domain.Parse(key.Domain); err != nil {
			return fmt.Errorf("dkim.keys, number %d: domain: %w", i+1, err)
		}
		if key.Selector, err = domain.Parse(key.Selector); err != nil {
			return fmt.Errorf("dkim.keys, number %d: selector: %w", i+1, err)
		}
		if key.File == "" {
			return fmt.Errorf("dkim.keys, number %d: file is not set", i+1)
		}
	}
	if c.DKIM.DefaultDomain != "" {
		if c.DKIM.DefaultDomain, err = domain.Parse(c.DKIM.DefaultDomain); err != nil {
			return fmt.Errorf("dkim: default_domain: %w", err)
		}
		if len(c.keysOf(c.DKIM.DefaultDomain)) == 0 {
			return fmt.Errorf("dkim: default_domain %q has no [[dkim.keys]]", c.DKIM.DefaultDomain)
		}
	}
	if err := c.ARC.check(c); err != nil {
		return fmt.Errorf("arc: %w", err)
	}
	for _, choice := range []struct {
		name, value string
		allowed     []string
	}{
		{"dmarc: munge_from", c.DMARC.MungeFrom, []string{"when-needed", "never", "always"}},
		{"dmarc: on_dmarc_fail", c.DMARC.OnDMARCFail, []string{"forward", "reject", "discard"}},
		{"dmarc: on_own_domain_forgery", c.DMARC.OnOwnDomainForgery, []string{"policy", "reject", "forward"}},
	} {
		if !slices.Contains(choice.allowed, choice.value) {
			return fmt.Errorf("%s: %q is not one of %s", choice.name, choice.value, strings.Join(choice.allowed, ", "))
		}
	}
	return nil
}

// check completes the name of the key. Domain stays "" if there is no key at all.
func (a *ARCConfig) check(c *Config) (err error) {
	setDefault(&a.Domain, c.DKIM.DefaultDomain)
	if a.Domain != "" {
		if a.Domain, err = domain.Parse(a.Domain); err != nil {
			return fmt.Errorf("domain: %w", err)
		}
		if len(c.keysOf(a.Domain)) == 0 {
			return fmt.Errorf("domain %q has no [[dkim.keys]]", a.Domain)
		}
	}
	if a.Selector == "" {
		return nil
	}
	if a.Selector, err = domain.Parse(a.Selector); err != nil {
		return fmt.Errorf("selector: %w", err)
	}
	if !slices.ContainsFunc(c.keysOf(a.Domain), func(k KeyConfig) bool { return k.Selector == a.Selector }) {
		return fmt.Errorf("no [[dkim.keys]] has domain %q and selector %q", a.Domain, a.Selector)
	}
	return nil
}

// keysOf gives the keys of exactly this domain.
func (c *Config) keysOf(domain string) []KeyConfig {
	var keys []KeyConfig
	for _, key := range c.DKIM.Keys {
		if key.Domain == domain {
			keys = append(keys, key)
		}
	}
	return keys
}

// mostKeys is the largest number of keys that one domain has.
func (c *Config) mostKeys() (most int) {
	count := map[string]int{}
	for _, key := range c.DKIM.Keys {
		count[key.Domain]++
		most = max(most, count[key.Domain])
	}
	return most
}

// localDomains gathers the domains that are delivered here: the configured ones, the file's, and the SRS
// domain, because its other addresses (postmaster) are delivered here.
func (c *Config) localDomains() (domain.Set, error) {
	set, err := newDomainSet("local_domains", c.LocalDomains, c.LocalDomainsFile)
	if err == nil && c.SRS.Domain != "" {
		if err = set.Add(c.SRS.Domain); err != nil {
			err = fmt.Errorf("srs: domain: %w", err)
		}
	}
	return set, err
}

// LocalTest gives the function that tells whether a domain is local by the configuration itself, without its
// tables. ".example.org" asks for all subdomains.
func (c *Config) LocalTest() (func(domain string) bool, error) {
	set, err := c.localDomains()
	return func(name string) bool { return set.Has(domain.Canonical(name)) }, err
}

// newDomainSet makes a set of the entries and of those in a file, one a line.
func newDomainSet(setting string, entries []string, file string) (domain.Set, error) {
	set := domain.Set{}
	for _, entry := range entries {
		if err := set.Add(entry); err != nil {
			return nil, fmt.Errorf("%s: %w", setting, err)
		}
	}
	if file == "" {
		return set, nil
	}
	text, err := readBounded(file)
	if err != nil {
		return nil, fmt.Errorf("%s_file: %w", setting, err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		entry := strings.TrimSpace(lines.Text())
		if entry == "" || entry[0] == '#' {
			continue
		}
		if err := set.Add(entry); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", file, n, err)
		}
	}
	return set, lines.Err()
}
