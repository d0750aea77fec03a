package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postmend/filter/domain"
	"postmend/filter/message/author"
	"postmend/reinject"
)

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
		c.TrustedNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"),
			netip.MustParsePrefix("::1/128")}
	}
	setDefault(&c.Reinject.Target, reinject.DefaultTarget)
	setDefault(&c.SRS.Separator, "=")
	setDefault(&c.SRS.MaxAge, Duration(21*24*time.Hour))
	setDefault(&c.SRS.HashLength, 4)
	setDefault(&c.SRS.StoreTimeout, Duration(3*time.Second))
	setDefault(&c.SRS.StorePatience, Duration(time.Hour))
	setDefault(&c.Arrival.Seal, new(true))
	setDefault(&c.Arrival.MaxAge, Duration(5*24*time.Hour))
	setDefault(&c.Limits.Deadline, Duration(DefaultDeadline))
	setDefault(&c.Limits.DNSDeadline, Duration(10*time.Second))
	setDefault(&c.Limits.DNSPatience, Duration(time.Hour))
	setDefault(&c.Limits.MemorySpool, Size(1<<20))
	setDefault(&c.Log.Socket, DefaultLogSocket)
	setDefault(&c.DMARC.MungeFrom, MungeWhenNeeded)
	setDefault(&c.DMARC.FromName, author.DefaultName)
	setDefault(&c.DMARC.OnDMARCFail, "forward")
	setDefault(&c.DMARC.OnOwnDomainForgery, "policy")
	setDefault(&c.ARC.Seal, SealAlways)
	if len(c.DKIM.Keys) > 0 {
		setDefault(&c.DKIM.DefaultDomain, c.DKIM.Keys[0].Domain)
	}
	for _, path := range append(c.files(), &c.Limits.SpoolDir, &c.Log.Socket) {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	return c.check()
}

func setDefault[T comparable](setting *T, value T) {
	var unset T
	if *setting == unset {
		*setting = value
	}
}

func (c *Config) check() error {
	var err error
	if c.Hostname, err = domain.Parse(c.Hostname); err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	if _, err := c.Outbound(); err != nil {
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
	if err := c.SRS.checkStore(); err != nil {
		return fmt.Errorf("srs: %w", err)
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
	if err := c.DMARC.check(); err != nil {
		return fmt.Errorf("dmarc: %w", err)
	}
	if err := c.checkSpam(); err != nil {
		return err
	}
	if err := c.ARC.check(c); err != nil {
		return fmt.Errorf("arc: %w", err)
	}
	return nil
}

func oneOf(name, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s: %q is not one of %s", name, value, strings.Join(allowed, ", "))
}

func (d *DMARC) check() error {
	err := errors.Join(oneOf("munge_from", string(d.MungeFrom), mungeModes...),
		oneOf("on_dmarc_fail", d.OnDMARCFail, "forward", "reject", "discard"),
		oneOf("on_own_domain_forgery", d.OnOwnDomainForgery, "policy", "reject", "forward"))
	if err != nil {
		return err
	}
	if _, err := author.ParseName(d.FromName); err != nil {
		return fmt.Errorf("from_name: %w", err)
	}
	if _, err := ParseTrustedAuthors(d.TrustedAuthors); err != nil {
		return err
	}
	for i, to := range d.Destinations {
		if err := (domain.Set{}).Add(to.Domain); err != nil {
			return fmt.Errorf("destination, number %d: domain: %w", i+1, err)
		}
		if err := oneOf("munge_from", string(to.MungeFrom), mungeModes...); err != nil {
			return fmt.Errorf("destination, number %d: %w", i+1, err)
		}
	}
	return nil
}

// check completes the name of the key. Domain stays "" if there is no key at all.
func (a *ARC) check(c *Config) (err error) {
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
	if !slices.ContainsFunc(c.keysOf(a.Domain), func(k Key) bool { return k.Selector == a.Selector }) {
		return fmt.Errorf("no [[dkim.keys]] has domain %q and selector %q", a.Domain, a.Selector)
	}
	return nil
}
