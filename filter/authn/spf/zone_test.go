package spf

import (
	"context"
	"errors"
	"hash/crc32"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// zone answers from a table of names in lower case. A record is a type and a value, or one of TIMEOUT and
// SERVFAIL, which fails all questions for types that the name has no records of. Half of the names below
// chance.test have an address. Unlike Go's resolver it takes names of any octets.
type zone map[string][][]string

// parseZone reads lines of "name TYPE value", as dnsserver does.
func parseZone(t testing.TB, text string) zone {
	t.Helper()
	z := zone{}
	for line := range strings.Lines(text) {
		name, record, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || name[0] == '#' {
			continue
		}
		z[strings.ToLower(name)] = append(z[strings.ToLower(name)], strings.SplitN(record, " ", 2))
	}
	return z
}

func (z zone) find(name, kind string) ([]string, error) {
	name = strings.TrimSuffix(name, ".") // which the library leaves
	if kind == "A" && strings.HasSuffix(name, ".chance.test") &&
		crc32.ChecksumIEEE([]byte(strings.ToLower(name)))&1 == 0 {
		return []string{"127.0.0.2"}, nil
	}
	for range 8 { // links of a chain of aliases
		fails, alias := false, ""
		var values []string
		for _, record := range z[strings.ToLower(name)] {
			switch record[0] {
			case kind:
				values = append(values, record[1])
			case "TIMEOUT", "SERVFAIL":
				fails = true
			case "CNAME":
				alias = strings.TrimSuffix(record[1], ".")
			}
		}
		switch {
		case len(values) > 0:
			return values, nil
		case fails:
			return nil, &net.DNSError{Err: "i/o timeout", Name: name, Server: "192.0.2.53:53",
				IsTimeout: true}
		case alias == "":
			return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
		}
		name = alias
	}
	return nil, &net.DNSError{Err: "a loop of aliases", Name: name}
}

func (z zone) LookupTXT(_ context.Context, name string) ([]string, error) { return z.find(name, "TXT") }

func (z zone) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	values, err := z.find(name, "MX")
	var list []*net.MX
	for _, value := range values {
		preference, host, _ := strings.Cut(value, " ")
		pref, _ := strconv.ParseUint(preference, 10, 16)
		list = append(list, &net.MX{Pref: uint16(pref), Host: host})
	}
	return list, err
}

func (z zone) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	values, err := z.find(host, map[string]string{"ip4": "A", "ip6": "AAAA"}[network])
	var list []netip.Addr
	for _, value := range values {
		list = append(list, netip.AddrFrom16(netip.MustParseAddr(value).As16())) // as Go's resolver may
	}
	return list, err
}

// LookupIPAddr is for the library.
func (z zone) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	v4, err4 := z.LookupNetIP(ctx, "ip4", host)
	v6, err6 := z.LookupNetIP(ctx, "ip6", host)
	var list []net.IPAddr
	for _, address := range append(v4, v6...) {
		list = append(list, net.IPAddr{IP: address.AsSlice()})
	}
	var failure *net.DNSError
	switch {
	case len(list) > 0:
		return list, nil
	case errors.As(err4, &failure) && !failure.IsNotFound:
		return nil, err4
	}
	return nil, err6
}

func (z zone) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return z.find(reverseName(netip.MustParseAddr(addr)), "PTR")
}

// reverseName is where the PTR record of an address stands.
func reverseName(address netip.Addr) string {
	name, octets := "", address.AsSlice()
	for _, octet := range octets {
		if address.Is4() {
			name = strconv.Itoa(int(octet)) + "." + name
		} else {
			name = strconv.FormatInt(int64(octet&15), 16) + "." + strconv.FormatInt(int64(octet>>4),
				16) + "." + name
		}
	}
	return name + map[bool]string{true: "in-addr.arpa", false: "ip6.arpa"}[address.Is4()]
}

// listener writes down what is asked, as "TYPE name".
type listener struct {
	Resolver
	mu    sync.Mutex
	asked []string
}

func (l *listener) hear(kind, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, kind+" "+name)
}

func (l *listener) LookupTXT(ctx context.Context, name string) ([]string, error) {
	l.hear("TXT", name)
	return l.Resolver.LookupTXT(ctx, name)
}

func (l *listener) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	l.hear("MX", name)
	return l.Resolver.LookupMX(ctx, name)
}

func (l *listener) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	l.hear(network, host)
	return l.Resolver.LookupNetIP(ctx, network, host)
}

func (l *listener) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	l.hear("PTR", addr)
	return l.Resolver.LookupAddr(ctx, addr)
}
