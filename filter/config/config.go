// Package config is the configuration file: its keys, their defaults and what may stand in them. Secrets,
// keys and passwords that it names are read when something needs them.
package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/BurntSushi/toml"

	"postmend/filter/cause"
	"postmend/filter/domain"
)

// DefaultFile is read if -c names no other file.
const DefaultFile = "/etc/postmend/postmend.toml"

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

	SRS      SRS      `toml:"srs"`
	DKIM     DKIM     `toml:"dkim"`
	DMARC    DMARC    `toml:"dmarc"`
	ARC      ARC      `toml:"arc"`
	Spam     []Spam   `toml:"spam"`
	Arrival  Arrival  `toml:"arrival"`
	Reinject Reinject `toml:"reinject"`
	Limits   Limits   `toml:"limits"`
	Log      Log      `toml:"log"`

	path string // of the file that it was read from; "" for none
}

// SRS is the section [srs]. Without a domain no sender is rewritten.
type SRS struct {
	Domain      string   `toml:"domain"`
	SecretsFile string   `toml:"secrets_file"` // one secret a line: the first signs, all verify
	Separator   string   `toml:"separator"`    // "=", "+" or "-"; default "="
	MaxAge      Duration `toml:"max_age"`      // default 21 days
	HashLength  int      `toml:"hash_length"`  // default and least 4

	// Store keeps the senders that do not fit into an SRS address: "dir:/PATH", "redis://HOST:PORT/DATABASE",
	// "rediss://HOST:PORT/DATABASE" or "redis+unix:///PATH". Default: none, and these senders stay.
	Store             string   `toml:"store"`
	StoreUser         string   `toml:"store_user"`
	StorePasswordFile string   `toml:"store_password_file"`
	StoreCAFile       string   `toml:"store_ca_file"`  // as CAFile of Reinject, for rediss://
	StoreTimeout      Duration `toml:"store_timeout"`  // of one operation of Valkey or Redis; default 3s
	StorePatience     Duration `toml:"store_patience"` // how long a failing store may defer mail; default 1h
}

// DKIM is the section [dkim].
type DKIM struct {
	Keys []Key `toml:"keys"`
	// DefaultDomain signs forwarded mail. Default: the domain of the first key.
	DefaultDomain string `toml:"default_domain"`
}

// Key is one section [[dkim.keys]]. Several of one domain all sign.
type Key struct {
	Domain   string `toml:"domain"`
	Selector string `toml:"selector"`
	File     string `toml:"file"`
}

// DMARC is the section [dmarc].
type DMARC struct {
	MungeFrom MungeMode `toml:"munge_from"` // default MungeWhenNeeded
	// Destinations are recipients' domains with a munge_from of their own. The first that fits counts.
	Destinations       []Destination `toml:"destination"`
	OnDMARCFail        string        `toml:"on_dmarc_fail"`         // default forward; reject, discard
	OnOwnDomainForgery string        `toml:"on_own_domain_forgery"` // default policy; reject, forward
	// FromAddress is the address in a rewritten From:. Default: the alias that forwards.
	FromAddress string `toml:"from_address"`
	// FromName is the form of the name in a rewritten From:, see author.ParseName. Default:
	// author.DefaultName.
	FromName string `toml:"from_name"`
	// ForceMunge are author domains whose From: is rewritten whenever DMARC passed on arrival, ForbidMunge
	// those whose From: is never rewritten; a leading dot stands for all subdomains. ForceMungeFile adds one
	// domain per line.
	ForceMunge     []string `toml:"force_munge"`
	ForceMungeFile string   `toml:"force_munge_file"`
	ForbidMunge    []string `toml:"forbid_munge"`
	// TrustedAuthors are those whose mail is rewritten although it fails DMARC, if it comes from their place.
	TrustedAuthors []TrustedAuthor `toml:"trusted_authors"`
}

// TrustedAuthor is one section [[dmarc.trusted_authors]]. It has either SPF or Network.
type TrustedAuthor struct {
	Domain  string `toml:"domain"`  // of From:; a leading dot stands for all subdomains
	SPF     string `toml:"spf"`     // the domain for which SPF has to pass
	Network string `toml:"network"` // address or prefix that the client has to be in
}

// Destination is one section [[dmarc.destination]].
type Destination struct {
	Domain    string    `toml:"domain"` // of recipients; a leading dot stands for all subdomains
	MungeFrom MungeMode `toml:"munge_from"`
}

// ARC is the section [arc].
type ARC struct {
	Seal SealMode `toml:"seal"` // default SealAlways
	// Domain and Selector name the key, one of [[dkim.keys]]. Default: the first RSA key of DKIM's default
	// domain.
	Domain   string `toml:"domain"`
	Selector string `toml:"selector"`
	// OnlyFor are the recipients' domains that mail is sealed for; a leading dot stands for all subdomains.
	// Default: all.
	OnlyFor []string `toml:"only_for"`
	// TrustedSealers are domains whose seals are believed about mail that fails DMARC here; a leading dot
	// stands for all subdomains.
	TrustedSealers []string `toml:"trusted_sealers"`
}

// Spam is one section [[spam]]: what happens to forwarded mail that an earlier filter on this host
// marked. The first that matches counts.
type Spam struct {
	Field    string     `toml:"field"`
	Value    string     `toml:"value"` // which the field's value begins with, as a word
	Action   SpamAction `toml:"action"`
	Redirect string     `toml:"redirect"` // an address in a local domain, for SpamRedirect
}

// Arrival is the section [arrival].
type Arrival struct {
	Seal   *bool    `toml:"seal"`    // default true; without it no seal is written, removed or read
	MaxAge Duration `toml:"max_age"` // of a seal that is read; default 5 days, least 1s
}

// Seals tells whether seals are written, removed and read.
func (a *Arrival) Seals() bool { return a.Seal == nil || *a.Seal }

// Reinject is the section [reinject].
type Reinject struct {
	Target       string `toml:"target"` // default reinject.DefaultTarget
	User         string `toml:"user"`
	PasswordFile string `toml:"password_file"`
	// CAFile has the certificate authorities, in PEM, that may vouch for the target's certificate. Default:
	// the system's.
	CAFile string `toml:"ca_file"`
}

// Limits is the section [limits].
type Limits struct {
	Deadline    Duration `toml:"deadline"`     // of a whole run; default 60s
	DNSDeadline Duration `toml:"dns_deadline"` // of all look-ups of a run together; default 10s
	DNSPatience Duration `toml:"dns_patience"` // how long DNS trouble may defer a message; default 1h
	MemorySpool Size     `toml:"memory_spool"` // default and least 1MiB
	SpoolDir    string   `toml:"spool_dir"`    // default: the system's temporary directory
}

// DefaultDeadline holds while the configuration is read, too.
const DefaultDeadline = time.Minute

// DefaultLogSocket is where messages go before the configuration is read, too.
const DefaultLogSocket = "/dev/log"

// Log is the section [log].
type Log struct {
	Socket string `toml:"socket"` // syslog's Unix-domain socket; default DefaultLogSocket
}

// Files are all files that are read for the configuration, besides its own.
func (c *Config) Files() (files []string) {
	for _, file := range c.files() {
		if *file != "" {
			files = append(files, *file)
		}
	}
	return files
}

// files are the settings that name them.
func (c *Config) files() []*string {
	files := []*string{&c.LocalDomainsFile, &c.DMARC.ForceMungeFile, &c.SRS.SecretsFile,
		&c.SRS.StorePasswordFile, &c.SRS.StoreCAFile, &c.Reinject.PasswordFile, &c.Reinject.CAFile}
	for i := range c.DKIM.Keys {
		files = append(files, &c.DKIM.Keys[i].File)
	}
	return files
}

// Load reads and checks a configuration file. An unknown key is an error that names the key and its
// line.
func Load(path string) (*Config, error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, invalid(path, err)
	}
	c, err := parseConfig(text)
	if err != nil {
		return nil, invalid(path, err)
	}
	if err := c.complete(filepath.Dir(path)); err != nil {
		return nil, invalid(path, err)
	}
	c.path = path
	return c, nil
}

// Invalid is the failure of a configuration that was loaded, and cannot be used all the same.
func (c *Config) Invalid(err error) error { return invalid(c.path, err) }

func invalid(path string, err error) error {
	if pathError, ok := errors.AsType[*os.PathError](err); ok {
		err = fmt.Errorf("%w (uid %d)", err, os.Geteuid())
		if pathError.Path == path {
			return cause.ConfigInvalid.Failure(err) // the path is in it
		}
	}
	if path != "" {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return cause.ConfigInvalid.Failure(err)
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

// LocalSet gathers the domains that are delivered here, as far as no table has to be asked: the configured
// ones, the file's, and the SRS domain, because its other addresses (postmaster) are delivered here.
func (c *Config) LocalSet() (domain.Set, error) {
	set, err := DomainSet("local_domains", c.LocalDomains, c.LocalDomainsFile)
	if err == nil && c.SRS.Domain != "" {
		if err = set.Add(c.SRS.Domain); err != nil {
			err = fmt.Errorf("srs: domain: %w", err)
		}
	}
	return set, err
}
