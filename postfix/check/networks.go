package check

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"postmend/filter/config"
	"postmend/postfix/postconf"
	"postmend/postfix/setup"
)

// judgeNetworks compares the clients for which Postfix relays with those whose mail is our own for postmend.
func judgeNetworks(h *host) []fault {
	networks, err := setup.Networks(h.config)
	if err != nil {
		return []fault{{Severity: Note,
			What: fmt.Sprintf("trusted_networks are not compared with mynetworks: %v", err)}}
	}
	missing := slices.DeleteFunc(slices.Clone(networks),
		func(n netip.Prefix) bool { return n.Addr() == netip.IPv6Loopback() || covers(h.Trusted, n) })
	excess := slices.DeleteFunc(slices.Clone(h.Trusted),
		func(n netip.Prefix) bool { return n.Addr().IsLoopback() || covers(networks, n) })
	var faults []fault
	if len(missing) > 0 {
		words := texts(missing)
		if config.LineOfKey([]byte(h.Text), "trusted_networks") == 0 {
			words = slices.Concat(texts(h.Trusted), words)
		}
		faults = append(faults, fault{What: "in mynetworks of main.cf, but not in trusted_networks: " +
			strings.Join(texts(missing), ", "), Edit: h.addTo("trusted_networks", words...)})
	}
	if len(excess) > 0 {
		faults = append(faults, fault{Severity: Warning,
			What: "in trusted_networks, but not in mynetworks of main.cf: " +
				strings.Join(texts(excess), ", ") + "; take it out, or let Postfix relay for it, too",
			Why: "mail from there counts as this host's own: forwarded mail is signed without asking " +
				"who sent it"})
	}
	return faults
}

func covers(networks []netip.Prefix, network netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool {
		return n.Bits() <= network.Bits() &&
			n.Contains(network.Addr())
	})
}

func texts(networks []netip.Prefix) []string {
	var all []string
	for _, n := range networks {
		all = append(all, n.String())
	}
	return all
}

// judgeRelayClients finds clients that may relay by other means than mynetworks and a login, of which the
// filter is not told.
func judgeRelayClients(h *host) []fault {
	var faults []fault
	seen := map[string]bool{}
	for _, s := range h.fronts() {
		for _, name := range []string{"smtpd_relay_restrictions", "smtpd_recipient_restrictions"} {
			for _, word := range postconf.List(h.value(s, name)) {
				if strings.HasSuffix(word, "_unauth_destination") || word == "reject" || word == "defer" {
					break
				}
				isOne := slices.Contains([]string{"permit_tls_clientcerts", "permit_tls_all_clientcerts",
					"check_ccert_access", "check_client_access"}, word)
				if isOne && !seen[name+word] {
					seen[name+word] = true
					faults = append(faults, fault{What: fmt.Sprintf("%s of %s may let clients relay by "+
						"%s: name their addresses in trusted_networks, or let them log in", name, s.ID(),
						word)})
				}
			}
		}
	}
	return faults
}

// hasOtherFilter tells whether mail that a service takes in passes another filter before postmend.
func (h *host) hasOtherFilter(s *postconf.Service) bool {
	filter := h.value(s, "content_filter")
	return filter != "" && transport(filter) != h.filterName() || h.value(s, "smtpd_proxy_filter") != ""
}

// judgeHiddenLogins finds services whose Received: field does not tell of a login, where postmend has to read
// it there. Postfix allows that for clients that log in only: in mail of others, their own fields come first.
func judgeHiddenLogins(h *host) []fault {
	const name = "smtpd_hide_client_session"
	var faults []fault
	for _, s := range h.fronts() {
		isMTA := s.Port() == "25"
		if h.value(s, name) != "yes" || !isMTA && !h.byLMTP() && !h.hasOtherFilter(s) {
			continue
		}
		f := fault{What: name + " = yes of " + s.ID() + " removes the client from the Received: field",
			Mend: h.setOption(s, name, "no")}
		if isMTA {
			f.Why = "Postfix does not allow it for mail from outside: no Received: field tells where that " +
				"came from"
		}
		faults = append(faults, f)
	}
	return faults
}

// judgeContainer tells of engines that put an address of their own in the place of the clients'.
func judgeContainer(h *host) []fault {
	gateway := h.gateway
	if !gateway.IsValid() {
		return nil
	}
	const remedy = "publish the port so that client addresses are kept (host networking, userland-proxy " +
		"off, pasta)"
	if slices.ContainsFunc(h.Trusted, func(n netip.Prefix) bool { return n.Contains(gateway) }) {
		return []fault{{Severity: Warning, What: fmt.Sprintf("trusted_networks holds %s, this container's "+
			"gateway: if the mail log shows client=...[%s] for mail from outside, %s, and take it out",
			gateway, gateway, remedy),
			Why: "a container engine may give all clients the gateway's address: then all mail counts as " +
				"this host's own, and strangers' mail is signed"}}
	}
	return []fault{{What: fmt.Sprintf("Postfix runs in a container: if the mail log shows client=...[%s] "+
		"for mail from outside, %s", gateway, remedy)}}
}

// containerGateway is the way out of a container; the zero value outside of one.
func containerGateway() netip.Addr {
	_, docker := os.Stat("/.dockerenv")
	_, podman := os.Stat("/run/.containerenv")
	if docker != nil && podman != nil {
		return netip.Addr{}
	}
	routes, _ := os.ReadFile("/proc/net/route")
	return defaultGateway(string(routes))
}

// defaultGateway reads proc(5)'s table of IPv4 routes, whose addresses have the lowest octet first.
func defaultGateway(routes string) netip.Addr {
	for line := range strings.Lines(routes) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[1] != "00000000" {
			continue
		}
		if octets, err := hex.DecodeString(fields[2]); err == nil && len(octets) == 4 {
			slices.Reverse(octets)
			return netip.AddrFrom4([4]byte(octets))
		}
	}
	return netip.Addr{}
}
