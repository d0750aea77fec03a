// Package srs rewrites envelope senders by the Sender Rewriting Scheme, so that a forwarder may send for
// them, and back.
//
//	user@host  →  SRS0=HHHH=TT=host=user@srs-domain
//	SRS0…@fwd  →  SRS1=HHHH=fwd=…@srs-domain          (… keeps its own separator, hence often "==")
//
// For senders that have no SRS form there are aliases, see alias.go; package store keeps their senders.
//
// HHHH is a keyed hash that only we can make, TT the day of the rewriting. No RFC describes the scheme. The
// addresses are those of libsrs2 and PostSRSd; the few differences are in postsrsd_test.go. Addresses are
// written as in SMTP commands (RFC 5321 section 4.1.2, RFC 6531), with quotes if a local part needs them.
// The caller decides which senders are rewritten, and whether one that is too long gets an alias.
//
// # What a hash proves
//
// That we made an address in the last MaxAge, and so sent the mail that bounces. An attacker who has mail
// forwarded by us gets such hashes for senders that he chooses. He must not be able to use one for another
// address:
//
//   - The hash of our SRS1 covers the tag, the day and the end of each field. It is valid only for that
//     address. The address has no day, so verifying tries all days of MaxAge.
//   - The hash of SRS0 is PostSRSd's, over the joined fields: HMAC-SHA1(TT‖host‖user). The stamp has a fixed
//     length, but host and user can be divided elsewhere: the hash for mallory@bank.co is valid for
//     allory@bank.com, on the same days. This helps an attacker who passes SPF here with the first sender but
//     not with the second. Checking names does not prevent it, because both are ordinary; only another hash
//     would.
//   - SRS1 addresses that PostSRSd made with one of our secrets are accepted, too. Their hash covers the
//     joined fields without tag and day: they do not expire, and some SRS0 hashes of ours are valid for one.
//     The hash for a-b@ank.example on the day WB is valid for SRS1=HHHH=WBank.examplea=-b, which reverses to
//     SRS0-b@WBank.examplea: a name that starts with SRS0, at a host that starts with the day's stamp. With
//     that sender, an attacker would get an SRS1 address from us anyway; he gains only that this one does not
//     expire. The two cannot be told apart by their form: nearly every host starts like a stamp, and a user
//     may contain anything.
//   - Vice versa, an SRS1 hash that PostSRSd made may be valid as SRS0 on one day in 1024, that of the stamp
//     which the host starts with. A new secret ends that, and these SRS1 addresses, as soon as the old one is
//     removed.
package srs

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
)

// What can be wrong with an address. Errors wrap one of these.
var (
	// ErrTooLong: the rewritten local part would have over 64 octets (RFC 5321 section 4.5.3.1.1).
	ErrTooLong = errors.New("SRS address too long")
	// ErrNotSRS: the address is not an SRS address in our domain.
	ErrNotSRS = errors.New("not an SRS address of this server")
	// ErrMalformed: the address cannot be parsed.
	ErrMalformed = errors.New("malformed address")
	// ErrForged: the hash was not made with one of our secrets, or is too short to prove that. Also an
	// expired SRS1 address: its hash covers the day, so it cannot be told from a forged one.
	ErrForged = errors.New("SRS hash does not match")
	// ErrExpired: the stamp is older than the limit, or lies beyond tomorrow.
	ErrExpired = errors.New("SRS address has expired")
)

const (
	maxLocalPart = 64 // octets; RFC 5321 section 4.5.3.1.1
	defaultAge   = 21 * 24 * time.Hour
)

// Options configure a Rewriter. Domain and Secrets are needed.
type Options struct {
	// Domain is the domain of rewritten addresses. Its MX and its SPF record must name this server.
	Domain string
	// Secrets are the keys of the hashes: the first one signs, all verify. They must be too long to guess;
	// this package does not check that.
	Secrets [][]byte
	// Separator follows the tag SRS0 or SRS1: '=', '+' or '-'. 0 means '='. Reverse accepts all three.
	Separator byte
	// MaxAge is how long bounces are accepted, rounded down to whole days; 1 to 512 days. 0 means 21 days.
	MaxAge time.Duration
	// HashLength is the number of characters of the hash, 4 to 27; each adds 5 bits for somebody who
	// guesses. 0 means 4. If it is raised, shorter hashes that are still in other servers' queues are
	// rejected, except those of the secrets after the first: these verify from 4 characters on.
	HashLength int
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// Rewriter rewrites addresses. It may be used by several goroutines.
type Rewriter struct {
	domain     string
	secrets    [][]byte
	separator  string
	maxDays    int
	hashLength int
	now        func() time.Time
}

// withDefaults sets the defaults.
func (o Options) withDefaults() Options {
	if o.Separator == 0 {
		o.Separator = '='
	}
	if o.HashLength == 0 {
		o.HashLength = minHash
	}
	if o.MaxAge == 0 {
		o.MaxAge = defaultAge
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// maxDays is MaxAge in whole days.
func (o Options) maxDays() int { return int(o.MaxAge / (24 * time.Hour)) }

// Check finds what is wrong with the options, except the secrets.
func (o Options) Check() error {
	o = o.withDefaults()
	switch {
	case !isDomain(o.Domain):
		hint := ""
		if strings.Contains(o.Domain, "$") {
			hint = ": Postfix's $names are not expanded here, write the name itself"
		}
		return fmt.Errorf("srs: domain %+.100q is not a domain name%s", o.Domain, hint)
	case !isSeparator(o.Separator):
		return fmt.Errorf("srs: separator %q is not one of = + -", o.Separator)
	case o.HashLength < minHash || o.HashLength > maxHash:
		return fmt.Errorf("srs: hash_length %d is not between %d and %d", o.HashLength, minHash, maxHash)
	case o.maxDays() < 1 || o.maxDays() > stampModulus/2:
		// The stamp is a day modulo 1024: with more than half of that, past and future could not be told
		// apart.
		return fmt.Errorf("srs: max_age %v is not between 1 and %d days", o.MaxAge, stampModulus/2)
	}
	return nil
}

// New checks the options and makes a Rewriter.
func New(o Options) (*Rewriter, error) {
	o = o.withDefaults()
	if err := o.Check(); err != nil {
		return nil, err
	}
	if len(o.Secrets) == 0 {
		return nil, errors.New("srs: no secret: at least one is needed to make and to verify hashes")
	}
	secrets := make([][]byte, len(o.Secrets))
	for i, secret := range o.Secrets {
		if len(secret) == 0 {
			return nil, fmt.Errorf("srs: secret %d is empty: anybody could make its hashes", i+1)
		}
		secrets[i] = bytes.Clone(secret)
	}
	return &Rewriter{o.Domain, secrets, string(o.Separator), o.maxDays(), o.HashLength, o.Now}, nil
}

// IsRewritten tells whether an address has the form of an SRS address of any domain: SRS0 or SRS1, in upper
// or lower case, and a separator. A malformed or forged one counts, too.
func IsRewritten(address string) bool {
	local, _ := cut(address)
	return hasTag(local, "SRS0") || hasTag(local, "SRS1")
}

// Owns tells whether an address has the form of an SRS address and is in our SRS domain, whatever its hash.
func (r *Rewriter) Owns(address string) bool {
	_, host := cut(address)
	return r.isOurs(host) && IsRewritten(address)
}

// Forward gives the SRS address for a sender. The null sender, and addresses that have the form of an SRS
// address of ours, are returned unchanged: nothing is rewritten twice.
func (r *Rewriter) Forward(address string) (string, error) {
	if address == "" {
		return "", nil
	}
	local, host, err := split(address)
	if err != nil {
		return "", err
	}
	if r.Owns(address) {
		return address, nil
	}
	if host == aliasHost {
		return "", fault(ErrMalformed, address) // its SRS form would be an alias
	}
	rewritten := quote(r.forward(local, host))
	if len(rewritten) > maxLocalPart {
		return "", fmt.Errorf("%w: %d octets before the @, at most %d are allowed",
			ErrTooLong, len(rewritten), maxLocalPart)
	}
	return rewritten + "@" + r.domain, nil
}

// forward makes the local part of the SRS address.
func (r *Rewriter) forward(local, host string) string {
	if hasTag(local, "SRS0") {
		return r.guarded(host, local[len("SRS0"):])
	}
	// The first forwarder and its address stay; only the hash is replaced by ours. A local part that starts
	// like SRS1 but does not parse as one, such as srs1-fan, is an ordinary name.
	if _, first, rest, ok := parseSRS1(local); ok {
		return r.guarded(first, rest)
	}
	stamp := stampOf(r.now())
	hash := r.sign(hashedSRS0(stamp, host, local))
	return "SRS0" + r.separator + hash + "=" + stamp + "=" + host + "=" + local
}

func (r *Rewriter) guarded(first, rest string) string {
	hash := r.sign(hashedSRS1(day(r.now()), first, rest))
	return "SRS1" + r.separator + hash + "=" + first + "=" + rest
}

// Reverse verifies an SRS address of ours and gives the address that it was made from: the original sender
// for SRS0, the first forwarder's SRS0 address for SRS1. If we are the first forwarder, that is reversed,
// too, so the result never has the form of an SRS address of ours. Of an alias it only verifies hash and
// day: the error is ErrUnknown.
func (r *Rewriter) Reverse(address string) (string, error) { return r.ReverseStored(address, nil) }

// ReverseStored is Reverse, and also gives the sender of an alias. It returns an error of find unchanged.
func (r *Rewriter) ReverseStored(address string, find Find) (string, error) {
	for {
		original, err := r.reverse(address, find)
		if err != nil || !r.Owns(original) {
			return original, err
		}
		address = original // shorter by a tag, a hash and our domain
	}
}

func (r *Rewriter) reverse(address string, find Find) (string, error) {
	local, _, err := split(address)
	if err != nil {
		return "", err
	}
	if !r.Owns(address) {
		return "", fault(ErrNotSRS, address)
	}
	if hash, first, rest, ok := parseSRS1(local); ok {
		if !r.verify(hash, r.textsOfSRS1(first, rest)...) {
			return "", fault(ErrForged, address)
		}
		return quote("SRS0"+rest) + "@" + first, nil
	}
	hash, stamp, host, user, ok := parseSRS0(local)
	if !ok {
		return "", fault(ErrMalformed, address)
	}
	if host == aliasHost {
		return r.reverseAlias(address, hash, stamp, user, find)
	}
	age, ok := age(stamp, r.now())
	if !ok {
		return "", fault(ErrMalformed, address)
	}
	if !r.verify(hash, hashedSRS0(stamp, host, user)) {
		return "", fault(ErrForged, address)
	}
	// The clocks of two MX hosts can differ around midnight UTC, so a stamp of tomorrow passes.
	if age > r.maxDays && age != stampModulus-1 {
		return "", fault(ErrExpired, address)
	}
	return quote(user) + "@" + host, nil
}

// textsOfSRS1 are the texts that a hash may cover: PostSRSd's text, and ours of every day from tomorrow
// back to the oldest allowed.
func (r *Rewriter) textsOfSRS1(first, rest string) []string {
	texts := []string{hashedPostSRSd1(first, rest)}
	tomorrow := day(r.now()) + 1
	for age := range int64(r.maxDays) + 2 {
		texts = append(texts, hashedSRS1(tomorrow-age, first, rest))
	}
	return texts
}

func (r *Rewriter) isOurs(host string) bool { return asciiLower(host) == asciiLower(r.domain) }

// parseSRS0 parses SRS0=hash=stamp=host=user.
func parseSRS0(local string) (hash, stamp, host, user string, ok bool) {
	if !hasTag(local, "SRS0") {
		return "", "", "", "", false
	}
	parts := strings.SplitN(local[len("SRS0="):], "=", 4)
	if len(parts) != 4 || !isHost(parts[2]) || parts[3] == "" {
		return "", "", "", "", false
	}
	return parts[0], parts[1], parts[2], parts[3], true
}

// parseSRS1 parses SRS1=hash=first==rest; rest starts with the separator that followed the literal SRS0. The
// host of aliases is no forwarder.
func parseSRS1(local string) (hash, first, rest string, ok bool) {
	if !hasTag(local, "SRS1") {
		return "", "", "", false
	}
	parts := strings.SplitN(local[len("SRS1="):], "=", 3)
	if len(parts) != 3 || !isHost(parts[1]) || parts[1] == aliasHost ||
		parts[2] == "" || !isSeparator(parts[2][0]) {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}

// hasTag tells whether a local part starts with the tag, in upper or lower case, and a separator.
func hasTag(local, tag string) bool {
	return len(local) > len(tag) && strings.EqualFold(local[:len(tag)], tag) && isSeparator(local[len(tag)])
}

func isSeparator(c byte) bool { return c == '=' || c == '+' || c == '-' }

// fault wraps one of the sentinel errors. The address may contain anything, so it is escaped and cut.
func fault(sentinel error, address string) error {
	return fmt.Errorf("%w: %+.100q", sentinel, address)
}
