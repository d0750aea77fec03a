package dkim

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
)

// Published judges the TXT records found at RecordName. The error says why verifiers that read them cannot
// use our public key; nil if they can. testing is set if the record has t=y: then verifiers treat our mail
// as unsigned.
func (k *Key) Published(records []string) (testing bool, err error) {
	if len(records) == 0 {
		return false, errors.New("no such record is published")
	}
	public, p := chooseKey(records)
	if p != nil {
		return false, errors.New(p.reason)
	}
	usable := 0
	for _, record := range records {
		if _, p := parseKey(record); p == nil {
			usable++
		}
	}
	if usable > 1 { // RFC 6376 section 3.6.2.2: what verifiers do then is undefined
		return false, fmt.Errorf("there are %d key records, and a verifier may use any of them", usable)
	}
	ours := &signature{algorithm: "rsa-sha256", domain: k.Domain, identityDomain: k.Domain}
	if _, ok := k.private.Public().(ed25519.PublicKey); ok {
		ours.algorithm = "ed25519-sha256"
	}
	if p := public.allows(ours); p != nil {
		return false, errors.New(p.reason)
	}
	if same := k.private.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(public.key); !same {
		return false, errors.New("it has the public key of another private key")
	}
	return public.testing, nil
}
