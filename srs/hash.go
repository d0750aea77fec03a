package srs

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"strconv"
)

const (
	minHash = 4  // characters; shorter ones can be guessed
	maxHash = 27 // characters of a SHA-1 in base64
)

// hashedSRS0 is the text that the hash of an SRS0 address covers, as the format defines it. It does not
// mark the end of the host, so the hash for bank.co and the user mallory is also valid for bank.com and the
// user allory. See the package comment.
func hashedSRS0(stamp, host, user string) string { return stamp + host + user }

// hashedSRS1 is the text that the hash of an SRS1 address of ours covers: tag, day (since 1970-01-01 UTC) and
// fields, each after an "=". No stamp and no host starts with that character, and first has no "=". So no
// SRS0 hash covers this text, and no other fields give the same text.
func hashedSRS1(day int64, first, rest string) string {
	return "=SRS1=" + strconv.FormatInt(day, 10) + "=" + first + "=" + rest
}

// hashedPostSRSd1 is the text that the hash of an SRS1 address of PostSRSd covers.
func hashedPostSRSd1(first, rest string) string { return first + rest }

// sign makes the hash over a text with the first secret.
func (r *Rewriter) sign(text string) string { return fullHash(r.secrets[0], text)[:r.hashLength] }

// verify tells whether a hash is that of one of the texts with any of the secrets. It ignores case, because
// mail systems may change the case of local parts, accepts both base64 alphabets, and takes the same time
// for every hash.
//
// A hash longer than ours must match completely, because hash_length may have been longer; PostSRSd would
// ignore the rest. A hash shorter than hash_length is verified only with the secrets after the first, so
// that hash_length can be raised together with a new secret.
func (r *Rewriter) verify(hash string, texts ...string) bool {
	if len(hash) < minHash || len(hash) > maxHash {
		return false
	}
	given := []byte(asciiLower(hash))
	for i, c := range given {
		switch c {
		case '+':
			given[i] = '-'
		case '/':
			given[i] = '_'
		}
	}
	valid := false
	for i, secret := range r.secrets {
		if i == 0 && len(hash) < r.hashLength {
			continue
		}
		for _, text := range texts {
			want := []byte(asciiLower(fullHash(secret, text)[:len(given)]))
			valid = hmac.Equal(given, want) || valid // in this order, no comparison is skipped
		}
	}
	return valid
}

// fullHash is the base64 of the HMAC-SHA1 over the lower-cased text. The URL-safe alphabet avoids + and /,
// which some receivers refuse in addresses.
func fullHash(secret []byte, text string) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write([]byte(asciiLower(text)))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// asciiLower leaves octets above 127 alone, as PostSRSd does.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
