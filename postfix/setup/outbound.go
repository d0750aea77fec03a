package setup

import (
	"net/netip"
	"slices"
	"strings"
)

// Outbound gives what main.cf tells of where mail leaves from, as other hosts see it, for
// outbound_addresses: the relays' host names, or the public addresses that smtp_bind_address, or else
// inet_interfaces and proxy_interfaces, name. It is empty if main.cf tells nothing. Main gives the value of
// a parameter, expanded.
func Outbound(main func(name string) string) []string {
	var relays []string
	for _, relay := range words(main("relayhost")) {
		name, isLiteral := strings.CutPrefix(relay, "[")
		if isLiteral {
			name, _, _ = strings.Cut(name, "]")
		} else {
			name, _, _ = strings.Cut(name, ":")
		}
		if ip, err := netip.ParseAddr(strings.TrimPrefix(name, "IPv6:")); err == nil {
			relays = append(relays, public(ip)...)
		} else if isHostName(name) {
			relays = append(relays, strings.ToLower(name))
		}
	}
	if main("relayhost") != "" {
		return relays
	}
	var bound, others []string
	add := func(all *[]string, names ...string) {
		for _, name := range names {
			for _, word := range words(main(name)) {
				ip, err := netip.ParseAddr(strings.Trim(word, "[]"))
				if err == nil && !slices.Contains(*all, ip.String()) {
					*all = append(*all, public(ip)...)
				}
			}
		}
	}
	if add(&bound, "smtp_bind_address", "smtp_bind_address6"); len(bound) > 0 {
		return bound
	}
	add(&others, "inet_interfaces", "proxy_interfaces")
	return others
}

// public is the address, if others can see it.
func public(ip netip.Addr) []string {
	if ip = ip.Unmap(); ip.IsGlobalUnicast() && !ip.IsPrivate() {
		return []string{ip.String()}
	}
	return nil
}

// words splits a list of main.cf.
func words(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" ,\t\r\n", r) })
}

// isHostName takes what can be written into a configuration.
func isHostName(name string) bool {
	const octets = "abcdefghijklmnopqrstuvwxyz0123456789-."
	return name != "" && len(name) <= 253 && strings.Trim(strings.ToLower(name), octets) == "" &&
		!strings.Contains("."+name+".", "..")
}
