package config

import (
	"slices"
	"strings"
	"testing"
)

func TestOutboundAddressesAreChecked(t *testing.T) {
	good := []string{"192.0.2.1", "198.51.100.0/24", "2001:db8::1", "2001:db8:1::/48", "10.1.2.3",
		"relay.example.net", "Relay.Example.NET."}
	o, err := (&Config{Hostname: "mx.example.org", OutboundAddresses: good}).Outbound()
	if err != nil || len(o.networks) != 5 ||
		!slices.Equal(o.names, []string{"relay.example.net", "relay.example.net"}) {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := (&Config{Hostname: "mx.example.org"}).Outbound(); err != nil ||
		!slices.Equal(o.names, []string{"mx.example.org"}) || len(o.networks) != 0 {
		t.Errorf("by default: %+v, %v", o, err)
	}
	for _, bad := range []string{"", "127.0.0.1", "::1", "0.0.0.0/0", "224.0.0.1", "192.0.2.1/33", "192.0.2",
		"192.0.2.256", "::ffff:192.0.2.1", "[192.0.2.1]", "192.0.2.1:25", "$myhostname", "a b", "-x.example",
		"fe80::1%eth0"} {
		if _, err := (&Config{OutboundAddresses: []string{bad}}).Outbound(); err == nil ||
			!strings.Contains(err.Error(), "outbound_addresses") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
