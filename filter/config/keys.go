package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"postmend/dkim"
)

// LoadKeys loads the keys of a domain; "" is all keys.
func (c *Config) LoadKeys(domain string) (keys []*dkim.Key, err error) {
	for _, k := range c.DKIM.Keys {
		if domain != "" && k.Domain != domain {
			continue
		}
		key, err := dkim.LoadKey(k.Domain, k.Selector, k.File)
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w (uid %d)", err, os.Geteuid())
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// keysOf gives the keys of exactly this domain.
func (c *Config) keysOf(domain string) []Key {
	var keys []Key
	for _, key := range c.DKIM.Keys {
		if key.Domain == domain {
			keys = append(keys, key)
		}
	}
	return keys
}

// MostKeys is the largest number of keys that one domain has.
func (c *Config) MostKeys() (most int) {
	count := map[string]int{}
	for _, key := range c.DKIM.Keys {
		count[key.Domain]++
		most = max(most, count[key.Domain])
	}
	return most
}
