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

// hashedSRS0 is what the hash of an SRS0 address covers. The format fixes it: nothing marks where the host
// ends, so the hash for bank.co and the user mallory is good for bank.com and the user allory. See the
// package comment.
func hashedSRS0(stamp, host, user string) string { return stamp + host + user }

// hashedSRS1 is what the hash of an SRS1 address of ours covers: tag, day (since 1970-01-01 UTC) and fields,
// each after an "=". It starts with a character that no stamp and no host starts with, and first holds no
// "=", so it is neither what an SRS0 hash covers, nor the same for other fields.
func hashedSRS1(day int64, first, rest string) string {
	return "=SRS1=" + strconv.FormatInt(day, 10) + "=" + first + "=" + rest
}

// hashedPostSRSd1 is what the hash of an SRS1 address of PostSRSd covers.
func hashedPostSRSd1(first, rest string) string { return first + rest }

// sign makes the hash over a text with the first secret.
func (r *Rewriter) sign(text string) string { return fullHash(r.secrets[0], text)[:r.hashLength] }

// verify tells whether a hash is that of one of the texts with any of the secrets. It compares without regard
// to case, since mail systems on the way fold local parts, takes both base64 alphabets, and needs the same
// time whatever the hash.
//
// A hash longer than ours must be right to its end, for hash_length may have been longer once; PostSRSd would
// ignore the surplus. Below hash_length only the secrets after the first verify, so that hash_length can be
// raised together with a new secret.
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
			valid = hmac.Equal(given, want) || valid // in this order: nothing is skipped
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
