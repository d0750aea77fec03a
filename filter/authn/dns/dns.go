// Package dns is a stub resolver (RFC 1034 section 5.3.1) that uses DNS alone. It asks the recursive
// servers of resolv.conf(5), or a given one, one question for one absolute name. Package net is not used,
// because it reads the hosts file first, refuses names with characters that DNS allows but host names do
// not (RFC 2181 section 11), and does not tell NXDOMAIN from a name without such records.
//
// A reply counts only if it comes from the address that was asked, to a port and with an id that cannot be
// guessed, and repeats the question (RFC 5452 section 9.1); others are ignored. It does not validate DNSSEC.
// No name is special, not even localhost, except those below .onion, which are never looked up (RFC 7686).
package dns

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// What the errors of Lookup wrap.
var (
	// ErrNoSuchName is NXDOMAIN; a name without records of the type wraps another error.
	ErrNoSuchName = errors.New("no such name")
	// ErrServerFailure means that the zone's servers are silent, or that its DNSSEC is broken.
	ErrServerFailure = errors.New("the server answers SERVFAIL")
)

var (
	errNoSuchRecord = errors.New("no such record")
	errGarbled      = errors.New("the reply is malformed")
	errLame         = errors.New("the server does not know the answer and does not recurse")
	errTruncated    = errors.New("the reply is truncated")
	errLoop         = errors.New("the aliases of the name lead nowhere")
)

const maxName = 253 // octets of a name without final dot (RFC 1035 section 2.3.4)

// Client looks names up. It is safe for concurrent use.
type Client struct {
	servers  []string      // "host:port", in the order in which they are asked
	timeout  time.Duration // for one server to answer
	attempts int           // how often each server is asked
	overTCP  bool          // UDP is not used
}

// New makes a client of the server at addr, "host:port"; "" means those in resolv.conf(5).
func New(addr string) *Client {
	if addr == "" {
		return readConfig("/etc/resolv.conf")
	}
	return &Client{servers: []string{addr}, timeout: defaultTimeout, attempts: defaultAttempts}
}

// Lookup gives the records of one type that a name has, and follows aliases. The name has no final dot. The
// types are A, AAAA, CNAME, MX, PTR and TXT.
//
// An error is a *net.DNSError. With IsNotFound there is no such record, and the answer is final; it wraps
// ErrNoSuchName if the name does not exist. A name that is not valid in DNS has no records. Any other error
// is temporary.
func (c *Client) Lookup(
	ctx context.Context, name string, kind dnsmessage.Type,
) ([]dnsmessage.ResourceBody, error) {
	reserveStack(false)
	q, ok := question(name, kind)
	if !ok {
		return nil, failure(name, errNoSuchRecord)
	}
	if isBelow(name, "onion") {
		return nil, failure(name, ErrNoSuchName)
	}
	var err error
	for range c.attempts {
		for _, server := range c.servers {
			if ctx.Err() != nil {
				return nil, failure(name, ctx.Err())
			}
			var records []dnsmessage.ResourceBody
			records, err = c.ask(ctx, server, q)
			if err == nil || err == ErrNoSuchName || err == errNoSuchRecord {
				return records, failure(name, err)
			}
		}
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return nil, failure(name, err)
}

// question is not ok if the name is not valid in DNS (RFC 1035 section 2.3.4).
func question(name string, kind dnsmessage.Type) (q dnsmessage.Question, ok bool) {
	if len(name) > maxName {
		return q, false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return q, false
		}
	}
	absolute, err := dnsmessage.NewName(name + ".")
	return dnsmessage.Question{Name: absolute, Type: kind, Class: dnsmessage.ClassINET}, err == nil
}

// isBelow tells whether a name is the top-level domain or below it.
func isBelow(name, top string) bool {
	return strings.EqualFold(name[strings.LastIndexByte(name, '.')+1:], top)
}

// failure is err as a *net.DNSError; nil if err is nil.
func failure(name string, err error) error {
	if err == nil {
		return nil
	}
	isFinal := err == ErrNoSuchName || err == errNoSuchRecord
	timeout, ok := errors.AsType[net.Error](err)
	return &net.DNSError{UnwrapErr: err, Err: err.Error(), Name: name, IsNotFound: isFinal,
		IsTemporary: !isFinal, IsTimeout: ok && timeout.Timeout()}
}

// rotated gives the servers from a random one on, for resolv.conf(5)'s option rotate.
func rotated(servers []string) []string {
	first := rand.IntN(len(servers))
	return append(servers[first:len(servers):len(servers)], servers[:first]...)
}

// ReverseName is the name of an address's PTR records, without final dot (RFC 1035 section 3.5, RFC 3596
// section 2.5).
func ReverseName(ip netip.Addr) string {
	var labels []string
	if ip = ip.Unmap(); ip.Is4() {
		for _, octet := range slices.Backward(ip.AsSlice()) {
			labels = append(labels, strconv.Itoa(int(octet)))
		}
		return strings.Join(labels, ".") + ".in-addr.arpa"
	}
	const digits = "0123456789abcdef"
	for _, octet := range slices.Backward(ip.AsSlice()) {
		labels = append(labels, digits[octet&15:][:1], digits[octet>>4:][:1])
	}
	return strings.Join(labels, ".") + ".ip6.arpa"
}
