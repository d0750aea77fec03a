package srs

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
)

const (
	minHash = 4  // characters; shorter ones can be guessed
	maxHash = 27 // characters of a SHA-1 in base64
)

// sign makes the hash over the fields with the first secret.
func (r *Rewriter) sign(fields ...string) string {
	return fullHash(r.secrets[0], fields)[:r.hashLength]
}

// verify compares a hash with those of all secrets, without regard to case and in constant time: mail systems on the way fold
// the case of local parts. Both base64 alphabets are taken. A hash longer than ours is taken if it is right to its end, for
// hash_length may have been longer once; PostSRSd would not look at the surplus.
func (r *Rewriter) verify(hash string, fields ...string) bool {
	if len(hash) < r.hashLength || len(hash) > maxHash {
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
	for _, secret := range r.secrets {
		want := []byte(asciiLower(fullHash(secret, fields)[:len(given)]))
		valid = hmac.Equal(given, want) || valid // in this order: no secret is skipped
	}
	return valid
}

// fullHash is the base64 of the HMAC-SHA1 over the lower-cased fields, with nothing between them: so the format wants it. The
// URL-safe alphabet spares us + and /, which some receivers refuse in addresses.
func fullHash(secret []byte, fields []string) string {
	mac := hmac.New(sha1.New, secret)
	for _, field := range fields {
		mac.Write([]byte(asciiLower(field)))
	}
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
