package check

import (
	"strings"
	"testing"

	"postmend/filter/config"
)

// SPF of the null sender is about the name in HELO: where mail leaves through a relay, addresses alone do
// not tell.
func TestARelayIsAskedForByName(t *testing.T) {
	for _, c := range []struct {
		relayhost string
		addresses []string
		asks      bool
	}{
		{"[relay.example.net]", []string{"192.0.2.10", "2001:db8:1::/64"}, true},
		{"[relay.example.net]", []string{"192.0.2.10", "relay.example.net"}, false},
		{"", []string{"192.0.2.10"}, false},
	} {
		p := &published{own: &own{config: &config.Config{OutboundAddresses: c.addresses}},
			relayhost: c.relayhost}
		faults := judgeOutbound(p)
		if c.asks != (len(faults) == 1 && faults[0].Severity == Note &&
			strings.Contains(faults[0].What, "HELO")) {
			t.Errorf("%q through %q: %+v", c.addresses, c.relayhost, faults)
		}
	}
}
