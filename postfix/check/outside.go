package check

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"postmend/filter/authn"
)

// outsideView is DNS as others see it. Go's resolver reads the hosts file first, and there a server commonly has its own name with an
// address of loopback or of the local network.
type outsideView struct {
	*authn.Resolver
	server string // "host:port"; "" means those of the system
}

// LookupIPAddr gives the A and AAAA records of a name.
func (v outsideView) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	found, err := v.Resolver.LookupIPAddr(ctx, host)
	if err != nil || !slices.ContainsFunc(found, func(a net.IPAddr) bool { return a.IP.IsLoopback() || a.IP.IsPrivate() }) {
		return found, err
	}
	server := v.server
	if server == "" {
		server = systemServer()
	}
	var all []net.IPAddr
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		ips, err := askServer(ctx, server, host, kind)
		if err != nil {
			return nil, &net.DNSError{Err: err.Error(), Name: host, IsTemporary: true}
		}
		all = append(all, ips...)
	}
	if len(all) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return all, nil
}

// LookupNetIP gives the A records of a name if network is ip4, its AAAA records if it is ip6.
func (v outsideView) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	all, err := v.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, err
	}
	var found []netip.Addr
	for _, address := range all {
		ip, _ := netip.AddrFromSlice(address.IP)
		if ip = ip.Unmap(); ip.Is4() == (network == "ip4") {
			found = append(found, ip)
		}
	}
	if len(found) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return found, nil
}

// systemServer is the first server in resolv.conf(5), or the one on this host.
func systemServer() string {
	text, _ := os.ReadFile("/etc/resolv.conf")
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "nameserver" {
			return net.JoinHostPort(words[1], "53")
		}
	}
	return "127.0.0.1:53"
}

// askServer asks one DNS server for addresses; a CNAME was followed by the server.
func askServer(ctx context.Context, server, host string, kind dnsmessage.Type) ([]net.IPAddr, error) {
	name, err := dnsmessage.NewName(strings.TrimSuffix(host, ".") + ".")
	if err != nil {
		return nil, err
	}
	question := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: kind, Class: dnsmessage.ClassINET}},
	}
	packed, err := question.Pack()
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	if _, err := conn.Write(packed); err != nil {
		return nil, err
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		var reply dnsmessage.Message
		if reply.Unpack(buffer[:n]) == nil && reply.Response && reply.ID == question.ID {
			return addressesIn(&reply)
		}
	}
}

func addressesIn(reply *dnsmessage.Message) ([]net.IPAddr, error) {
	if reply.RCode != dnsmessage.RCodeSuccess && reply.RCode != dnsmessage.RCodeNameError {
		return nil, &net.DNSError{Err: "the server answered " + reply.RCode.String()}
	}
	var ips []net.IPAddr
	for _, record := range reply.Answers {
		switch body := record.Body.(type) {
		case *dnsmessage.AResource:
			ips = append(ips, net.IPAddr{IP: body.A[:]})
		case *dnsmessage.AAAAResource:
			ips = append(ips, net.IPAddr{IP: body.AAAA[:]})
		}
	}
	return ips, nil
}
