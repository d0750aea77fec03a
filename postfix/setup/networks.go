package setup

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"postmend/postfix/postconf"
)

// trustedNetworks are the clients for which Postfix relays: their mail is our own outgoing mail. They are
// mynetworks of main.cf, or what mynetworks_style makes of this host's interfaces. Nil stands for the
// default, loopback, which is always among them.
func trustedNetworks(o *Options, c *postconf.Config) ([]netip.Prefix, error) {
	text, err := c.Expand("mynetworks")
	if err != nil {
		return nil, err
	}
	if o.TrustedNetworks != "" {
		text = o.TrustedNetworks
	}
	matches, err := networksOf(c, postconf.List(text), 0)
	if err != nil && o.TrustedNetworks == "" {
		return nil, fmt.Errorf("mynetworks in main.cf: %w. Name the clients whose mail is your own, as in "+
			"--trusted-networks 127.0.0.0/8,10.0.0.0/8", err)
	} else if err != nil {
		return nil, fmt.Errorf("--trusted-networks: %w", err)
	}
	return settle(matches)
}

// Networks are the clients for which Postfix relays by mynetworks of main.cf; loopback is always among them.
func Networks(c *postconf.Config) ([]netip.Prefix, error) {
	networks, err := trustedNetworks(&Options{}, c)
	if err == nil && networks == nil {
		networks = loopback()
	}
	return networks, err
}

// match is an entry of an address list: the first that has an address decides.
type match struct {
	network  netip.Prefix
	excluded bool
}

// networksOf reads what lists of addresses may hold: networks, files of them, and tables whose entries can be
// read.
func networksOf(c *postconf.Config, items []string, depth int) ([]match, error) {
	const deepest = 10
	if depth > deepest {
		return nil, fmt.Errorf("%s: the lists are nested too deeply", items[0])
	}
	var matches []match
	for _, item := range items {
		pattern, excluded := strings.CutPrefix(item, "!")
		inner, err := networkItem(c, pattern, depth)
		if err != nil {
			return nil, err
		}
		for _, m := range inner {
			matches = append(matches, match{m.network, m.excluded != excluded})
		}
	}
	return matches, nil
}

func networkItem(c *postconf.Config, item string, depth int) ([]match, error) {
	kind, name, isTable := strings.Cut(strings.TrimPrefix(item, "proxy:"), ":")
	switch {
	case strings.HasPrefix(item, "/"):
		items, err := readLists([]string{item}, 0)
		if err != nil {
			return nil, err
		}
		return networksOf(c, items, depth+1)
	case isTable && kind == "cidr":
		return cidrTable(name)
	case isTable && isLetters(kind) && name != "" && !strings.HasPrefix(name, ":"):
		keys, err := c.Keys(context.Background(), kind+":"+name)
		if err != nil {
			return nil, fmt.Errorf("the entries of %s cannot be listed: %w", item, err)
		}
		return networksOf(c, keys, depth+1)
	}
	network, err := parseNetwork(item)
	return []match{{network: network}}, err
}

// isLetters tells whether a word can be a table's type: IPv6 addresses have colons, too.
func isLetters(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == "" && strings.Trim(s, "abcdef") != ""
}

func parseNetwork(item string) (netip.Prefix, error) {
	text := strings.NewReplacer("[", "", "]", "").Replace(item)
	if ip, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return network, fmt.Errorf("%s is not a network", item)
	}
	const mapped = 96 // bits of ::ffff:0:0/96 (RFC 4291 section 2.5.5.2), which Debian writes
	if network.Addr().Is4In6() && network.Bits() >= mapped {
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-mapped)
	}
	return network.Masked(), nil
}

// cidrTable reads a table of cidr_table(5): a file, or {{pattern result}, ...} within the parameter.
func cidrTable(name string) ([]match, error) {
	var lines []string
	if strings.HasPrefix(name, "{") {
		for _, rule := range postconf.List(strings.TrimSuffix(strings.TrimPrefix(name, "{"), "}")) {
			lines = append(lines, strings.TrimSuffix(strings.TrimPrefix(rule, "{"), "}"))
		}
	} else {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		for scanner := bufio.NewScanner(file); scanner.Scan(); {
			lines = append(lines, scanner.Text())
		}
	}
	var matches []match
	for _, line := range lines {
		fields := strings.Fields(line)
		// A continuation of the result, which does not matter here.
		isMore := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		if len(fields) == 0 || isMore || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if strings.HasPrefix(fields[0], "!") || strings.EqualFold(fields[0], "if") ||
			strings.EqualFold(fields[0], "endif") {
			return nil, fmt.Errorf("cidr:%s has a rule that cannot be translated: %s", name,
				strings.TrimSpace(line))
		}
		network, err := parseNetwork(fields[0])
		if err != nil {
			return nil, fmt.Errorf("cidr:%s: %w", name, err)
		}
		matches = append(matches, match{network: network})
	}
	return matches, nil
}

func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// settle makes plain networks of a list in which the first match decides.
func settle(matches []match) ([]netip.Prefix, error) {
	networks := loopback()
	var excluded []netip.Prefix
	for _, m := range matches {
		if m.excluded {
			excluded = append(excluded, m.network)
			continue
		}
		for _, network := range without(m.network, excluded) {
			holds := func(n netip.Prefix) bool {
				return n.Bits() <= network.Bits() && n.Contains(network.Addr())
			}
			if !slices.ContainsFunc(networks, holds) {
				networks = append(networks, network)
			}
		}
	}
	const most = 1000
	switch {
	case len(networks) > most:
		return nil, fmt.Errorf("mynetworks has %d networks, more than %d; name larger ones with "+
			"--trusted-networks", len(networks), most)
	case len(networks) == len(loopback()):
		return nil, nil
	}
	return networks, nil
}

// without cuts holes into a network.
func without(network netip.Prefix, holes []netip.Prefix) []netip.Prefix {
	hit := slices.IndexFunc(holes, network.Overlaps)
	switch {
	case hit < 0:
		return []netip.Prefix{network}
	case holes[hit].Bits() <= network.Bits():
		return nil
	}
	bits := network.Bits() + 1
	lower := netip.PrefixFrom(network.Addr(), bits)
	octets := network.Addr().AsSlice()
	octets[network.Bits()/8] |= 0x80 >> (network.Bits() % 8)
	addr, _ := netip.AddrFromSlice(octets)
	return append(without(lower, holes), without(netip.PrefixFrom(addr, bits), holes)...)
}
