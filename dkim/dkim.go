// Package dkim signs and verifies messages by DomainKeys Identified Mail (RFC 6376, with RFC 8301 and RFC
// 8463), as a forwarder needs it. It has raw header fields, canonicalisation, private keys and their DNS
// records.
//
// Signing and verifying take one pass over the body, whatever the number of keys and signatures. Package
// dkim/arc uses the same code.
//
// It does not decide who signs what, and does not check alignment; the caller does.
package dkim
