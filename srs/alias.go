package srs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"strconv"
	"strings"
)

// An alias stands for a sender that has no SRS form, usually because it is too long:
//
//	SRS0=HHHH=TT=1=TOKEN@srs-domain
//
// Its host is "1", which no address has. Other forwarders treat it as an SRS0 address. Their SRS1 form,
// SRS1=HHHH=srs-domain==HHHH=TT=1=TOKEN, has at most 64 octets if our domain has at most 22. A store has the
// sender, under the day and TOKEN.
//
// HHHH covers tag, day and TOKEN, in a form that no other hash of ours covers. So an alias that we did not
// make, or that has expired, is rejected without the store. To guess an alias, HHHH takes 20 bits, and
// TOKEN 100 more, because a token that the store does not have is rejected as well.
//
// PostSRSd 2 makes aliases of the same form, with longer tokens. They are in a database of its own, and are
// malformed here.

// ErrUnknown: the hash of an alias is right, but there is no store, or it does not have the sender.
var ErrUnknown = errors.New("no sender is stored for this SRS address")

const (
	aliasHost   = "1"
	tokenLength = 20 // characters, each worth 5 bits
)

// tokenCoding has no letters that differ only in case, because mail systems may change the case of local
// parts.
var tokenCoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Key is what a sender is stored under.
type Key struct {
	Day   int64  // of the alias, since 1970-01-01 UTC; it expires MaxAge later
	Token string // 20 characters of a-z2-7
}

// Find gives the sender that is stored under a key. Its error is ErrUnknown if there is none.
type Find func(Key) (sender string, err error)

// Alias gives the alias for a sender, and the key that the caller has to store the sender under before he
// uses it. Each host with the same first secret makes the same alias for a sender on the same day.
func (r *Rewriter) Alias(sender string) (alias string, key Key, err error) {
	if _, _, err := split(sender); err != nil {
		return "", Key{}, err
	}
	if r.Owns(sender) {
		return "", Key{}, fault(ErrMalformed, sender)
	}
	now := r.now()
	key = Key{day(now), r.token(day(now), sender)}
	hash := r.sign(hashedAlias(key))
	local := "SRS0" + r.separator + hash + "=" + stampOf(now) + "=" + aliasHost + "=" + key.Token
	return local + "@" + r.domain, key, nil
}

// token is a keyed hash, so that an alias does not reveal its sender. It uses another hash function than
// HHHH, and is not computed when an alias is reversed, because the secret may have changed.
func (r *Rewriter) token(day int64, sender string) string { return token(r.secrets[0], day, sender) }

// HasMade tells whether a host with one of our secrets stores a sender under a key.
func (r *Rewriter) HasMade(key Key, sender string) bool {
	for _, secret := range r.secrets {
		if token(secret, key.Day, sender) == key.Token {
			return true
		}
	}
	return false
}

func token(secret []byte, day int64, sender string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("=TOKEN=" + strconv.FormatInt(day, 10) + "=" + sender))
	return tokenCoding.EncodeToString(mac.Sum(nil))[:tokenLength]
}

// IsToken tells whether s has the form of a token.
func IsToken(s string) bool {
	return len(s) == tokenLength && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// hashedAlias is what the hash of an alias covers. As in hashedSRS1, no SRS0 hash covers a text like this.
func hashedAlias(key Key) string {
	return "=SRS0=" + strconv.FormatInt(key.Day, 10) + "=" + aliasHost + "=" + key.Token
}

// reverseAlias verifies the parts of an alias of ours and gives the stored sender.
func (r *Rewriter) reverseAlias(address, hash, stamp, token string, find Find) (string, error) {
	age, ok := age(stamp, r.now())
	if !ok {
		return "", fault(ErrMalformed, address)
	}
	if age == stampModulus-1 { // of tomorrow
		age = -1
	}
	key := Key{day(r.now()) - int64(age), asciiLower(token)}
	switch {
	case !IsToken(key.Token):
		return "", fault(ErrMalformed, address)
	case !r.verify(hash, hashedAlias(key)):
		return "", fault(ErrForged, address)
	case age > r.maxDays:
		return "", fault(ErrExpired, address)
	case find == nil:
		return "", fault(ErrUnknown, address)
	}
	sender, err := find(key)
	if err != nil {
		return "", err
	}
	// Others may write to the store: its answer is checked like any address, must not be one of ours, and is
	// written as one: Postfix reads what a lookup table answers as a list of addresses.
	local, host, err := split(sender)
	if err != nil || r.Owns(sender) {
		return "", fault(ErrMalformed, sender)
	}
	return quote(local) + "@" + host, nil
}
