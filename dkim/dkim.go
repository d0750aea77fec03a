// Package dkim holds what DomainKeys Identified Mail (RFC 6376) needs of a forwarder: raw header fields,
// canonicalisation, private keys and their DNS records, signing, and verification (with RFC 8301 and RFC
// 8463).
//
// Signing and verifying take one pass over the body, whatever the number of keys and signatures. What they
// are made of serves ARC (package dkim/arc), too.
//
// It does not decide who signs what: that the signing domain is aligned with anything is the caller's
// concern.
package dkim
