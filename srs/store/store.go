// Package store keeps the senders behind the aliases of package srs: in plain files, or in Valkey or Redis.
//
// An entry never changes, so writers need no locks: whoever makes an alias stores the same sender under the
// same key. It lives as long as its alias is valid, and two days longer, for the clocks of other hosts.
//
// What a store says is hostile until its checksum is right: an entry that is damaged is an error, never
// another sender. Every error but srs.ErrUnknown is temporary.
package store

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"postmend/srs"
)

// Store is safe for several goroutines, and for several processes and hosts that share it.
type Store interface {
	// Put stores a sender under the key of its alias. Without an error, it is stored durably.
	Put(ctx context.Context, key srs.Key, sender string) error
	// Get gives the sender under a key; srs.ErrUnknown if there is none.
	Get(ctx context.Context, key srs.Key) (sender string, err error)
	// List calls found with each entry, in no order; the Err of an entry says why it cannot be read.
	List(ctx context.Context, found func(Entry) error) error
	// Prune removes the entries whose aliases have expired, and tells how many.
	Prune(ctx context.Context) (removed int, err error)
}

// Entry is one stored sender.
type Entry struct {
	Key    srs.Key
	Sender string // "" if there is an Err
	Err    error
}

// Options configure a store. URL is needed.
type Options struct {
	// URL is as in Parse.
	URL string
	// User and Password are for Valkey and Redis; nil means no AUTH, an empty user that of requirepass.
	User     string
	Password func() (string, error)
	// RootCAs gives the authorities that may vouch for a server's certificate. Nil means the system's.
	RootCAs func() (*x509.CertPool, error)
	// Timeout is for one operation of Valkey or Redis, connecting included. 0 means 3 seconds.
	Timeout time.Duration
	// MaxAge is how long an alias is valid, as in srs.Options. 0 means 21 days.
	MaxAge time.Duration
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// Open makes a store ready. It touches neither files nor the network.
func Open(o Options) (Store, error) {
	location, err := Parse(o.URL)
	if err != nil {
		return nil, err
	}
	if o.MaxAge == 0 {
		o.MaxAge = 21 * 24 * time.Hour
	}
	if o.Timeout == 0 {
		o.Timeout = 3 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	life := lifetime{days: int64(o.MaxAge / (24 * time.Hour)), now: o.Now}
	if location.Dir != "" {
		return &files{dir: location.Dir, life: life}, nil
	}
	return &server{at: location, user: o.User, password: o.Password, rootCAs: o.RootCAs, timeout: o.Timeout,
		life: life}, nil
}

// lifetime tells when entries expire.
type lifetime struct {
	days int64
	now  func() time.Time
}

// expiry is when an entry may go: two days after its alias.
func (l lifetime) expiry(day int64) time.Time {
	return time.Unix((day+l.days+1+2)*86400, 0)
}

func (l lifetime) expired(day int64) bool { return l.now().After(l.expiry(day)) }

// errDamaged is for an entry that is not as it was written.
var errDamaged = errors.New("the entry is damaged")

// maxEntry is more than an entry can have, in octets: an address has at most 320.
const maxEntry = 1024

const entryFormat = "postmend 1 %08x %s\n" // version, checksum, sender

// encode makes the text of an entry. The checksum covers the key, so that an entry under a wrong key is
// damaged.
func encode(key srs.Key, sender string) string {
	sum := crc32.ChecksumIEEE([]byte(dayName(key.Day) + " " + key.Token + " " + sender))
	return fmt.Sprintf(entryFormat, sum, sender)
}

// decode gives the sender of an entry: only the very text that encode makes is one.
func decode(key srs.Key, text string) (string, error) {
	if parts := strings.SplitN(strings.TrimSuffix(text, "\n"), " ", 4); len(parts) == 4 {
		if sender := parts[3]; sender != "" && len(text) <= maxEntry && encode(key, sender) == text {
			return sender, nil
		}
	}
	return "", fmt.Errorf("%w: %s/%s", errDamaged, dayName(key.Day), key.Token)
}

// checkKey keeps what is no key out of paths and commands.
func checkKey(key srs.Key) error {
	if !srs.IsToken(key.Token) || key.Day < 0 || key.Day > 1<<20 {
		return fmt.Errorf("invalid key: %d, %+.40q", key.Day, key.Token)
	}
	return nil
}

// checkEntry keeps what cannot be read again out of the store.
func checkEntry(key srs.Key, sender string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if _, err := decode(key, encode(key, sender)); err != nil || strings.ContainsAny(sender, "\r\n\x00") {
		return fmt.Errorf("invalid sender: %+.100q", sender)
	}
	return nil
}

// dayName is a day as people write it, which sorts.
func dayName(day int64) string { return time.Unix(day*86400, 0).UTC().Format(time.DateOnly) }

func parseDay(name string) (day int64, ok bool) {
	date, err := time.Parse(time.DateOnly, name)
	return date.Unix() / 86400, err == nil && date.Unix() >= 0
}
