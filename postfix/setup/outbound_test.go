package setup

import (
	"slices"
	"testing"
)

func TestWhatMainTellsOfOutboundAddresses(t *testing.T) {
	for _, c := range []struct {
		main map[string]string
		want []string
	}{
		{map[string]string{"inet_interfaces": "all"}, nil},
		{map[string]string{"inet_interfaces": "127.0.0.1, [::1], 192.0.2.1 2001:db8::1"},
			[]string{"192.0.2.1", "2001:db8::1"}},
		{map[string]string{"inet_interfaces": "10.0.0.1", "proxy_interfaces": "192.0.2.1"},
			[]string{"192.0.2.1"}},
		{map[string]string{"inet_interfaces": "192.0.2.1", "proxy_interfaces": "192.0.2.1"},
			[]string{"192.0.2.1"}},
		{map[string]string{"inet_interfaces": "192.0.2.1", "smtp_bind_address": "192.0.2.2",
			"smtp_bind_address6": "2001:db8::2"}, []string{"192.0.2.2", "2001:db8::2"}},
		{map[string]string{"inet_interfaces": "192.0.2.1", "smtp_bind_address": "10.0.0.2"},
			[]string{"192.0.2.1"}},
		{map[string]string{"relayhost": "[Relay.example.net]:587", "inet_interfaces": "192.0.2.1"},
			[]string{"relay.example.net"}},
		{map[string]string{"relayhost": "example.net:25"}, []string{"example.net"}},
		{map[string]string{"relayhost": "[a.example.net]:587, [b.example.net]"},
			[]string{"a.example.net", "b.example.net"}},
		{map[string]string{"relayhost": "[$x]"}, nil},
		{map[string]string{"relayhost": "[192.0.2.9]:587"}, []string{"192.0.2.9"}},
		{map[string]string{"relayhost": "[127.0.0.1]:10025"}, nil},
		{map[string]string{"relayhost": "[IPv6:2001:db8::9]"}, []string{"2001:db8::9"}},
	} {
		if got := Outbound(func(name string) string { return c.main[name] }); !slices.Equal(got, c.want) {
			t.Errorf("%v: %q, want %q", c.main, got, c.want)
		}
	}
}
