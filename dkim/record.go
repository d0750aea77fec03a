package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"math/bits"
	"strings"
)

const (
	maxRecords = 10      // TXT records that are looked at
	maxRecord  = 8 << 10 // octets of one
	maxRSABits = 8192    // longer keys take too much time
)

// publicKey is a key record that was read (RFC 6376 section 3.6.1).
type publicKey struct {
	key       any // *rsa.PublicKey or ed25519.PublicKey
	keyType   string
	bits      int
	isBareRSA bool   // p= is an RSAPublicKey, without the name of the algorithm
	testing   bool   // t=y
	exact     bool   // t=s: the domain of i= is that of d=
	hashes    []byte // h=, unparsed; nil allows all
	services  []byte // s=
	several   bool   // there were other records
}

// chooseKey takes the first record that can be used: RFC 6376 section 3.6.2.2 does not define what several
// records mean, and some may not be for DKIM. If none can be used, the problem is that of the first.
func chooseKey(records []string) (*publicKey, *problem) {
	first := permError("no key record")
	for i, record := range records[:min(len(records), maxRecords)] {
		key, p := parseKey(record)
		if p == nil {
			key.several = len(records) > 1
			return key, nil
		}
		if i == 0 {
			first = p
		}
	}
	return nil, first
}

// parseKey reads a key record (RFC 6376 section 6.1.2). Notes and unknown tags do not count.
func parseKey(record string) (*publicKey, *problem) {
	if len(record) > maxRecord {
		return nil, permError("key record is too long")
	}
	tags, p := parseTags([]byte(record))
	if p != nil {
		return nil, permError("key record: %s", p.reason)
	}
	// RFC 6376 wants v= to be the first tag; no other verifier checks that.
	if v, found := tags["v"]; found && string(v.value) != "DKIM1" {
		return nil, permError("key record: not of version DKIM1")
	}
	public, found := tags["p"]
	if !found {
		return nil, permError("key record: p= is missing")
	}
	if len(public.value) == 0 {
		return nil, &problem{Fail, "key revoked"}
	}
	k := &publicKey{keyType: "rsa"}
	if value, found := tags["k"]; found {
		k.keyType = string(value.value)
	}
	der, err := base64.StdEncoding.DecodeString(string(withoutFWS(public.value)))
	if err != nil {
		return nil, permError("key record: p= is not base64")
	}
	if p := k.readPublic(der); p != nil {
		return nil, p
	}
	if h, found := tags["h"]; found {
		k.hashes = append([]byte{}, h.value...) // empty, it allows none
	}
	if s, found := tags["s"]; found {
		k.services = append([]byte{}, s.value...)
	}
	k.testing, k.exact = listHas(tags["t"].value, "y"), listHas(tags["t"].value, "s")
	return k, nil
}

// readPublic reads p= by the type of the key.
func (k *publicKey) readPublic(data []byte) *problem {
	switch k.keyType {
	case "rsa":
		var whole asn1.RawValue
		if _, err := asn1.Unmarshal(data, &whole); err == nil {
			data = whole.FullBytes // other verifiers ignore what follows, too
		}
		// Erratum 3017 of RFC 6376: SubjectPublicKeyInfo and RSAPublicKey are both in use.
		parsed, err := x509.ParsePKIXPublicKey(data)
		if err != nil {
			parsed, err = x509.ParsePKCS1PublicKey(data)
			k.isBareRSA = true
		}
		public, isRSA := parsed.(*rsa.PublicKey)
		if err != nil || !isRSA {
			return permError("key record: p= is not an RSA key")
		}
		k.key, k.bits = public, public.N.BitLen()
	case "ed25519":
		if len(data) != ed25519.PublicKeySize { // RFC 8463 section 4.2: the key without ASN.1 around it
			return permError("key record: p= is not an ed25519 key")
		}
		k.key, k.bits = ed25519.PublicKey(data), 256
	default:
		return permError("key record: unknown key type")
	}
	return nil
}

// allows tells whether the record is meant for this signature.
func (k *publicKey) allows(s *signature) *problem {
	keyType, hash, _ := strings.Cut(s.algorithm, "-")
	switch {
	case k.keyType != keyType:
		return permError("the key is not for the algorithm of a=")
	case k.hashes != nil && !listHas(k.hashes, hash):
		return permError("the key is not for the hash of a=")
	case k.services != nil && !listHas(k.services, "*") && !listHas(k.services, "email"):
		return permError("the key is not for mail")
	case k.exact && !strings.EqualFold(s.identityDomain, s.domain):
		return permError("the key is not for subdomains in i=")
	case keyType == "rsa" && k.bits < minRSABits:
		return &problem{Policy, "RSA key under 1024 bits (RFC 8301)"}
	case k.bits > maxRSABits:
		return &problem{Policy, "RSA key over 8192 bits"}
	}
	return nil
}

// cost grows with the cube of an RSA key's length, and with that of its exponent, which is 17 bits as a rule.
func (k *publicKey) cost() int {
	public, isRSA := k.key.(*rsa.PublicKey)
	if !isRSA {
		return 1
	}
	length, exponent := (k.bits+1023)/1024, (bits.Len(uint(public.E))+16)/17
	return max(1, length*length*length/8) * exponent
}

// verifies tells whether the signature is over data with this digest.
func (k *publicKey) verifies(digest [sha256.Size]byte, value []byte) bool {
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], value) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(key, digest[:], value) // RFC 8463 section 3: over the hash, not the text
	}
	return false
}
