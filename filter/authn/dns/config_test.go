package dns

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestResolvConfIsRead(t *testing.T) {
	for _, c := range []struct{ text, servers string }{
		{"", "127.0.0.1:53"},
		{"nameserver\nnameserver localhost\nsearch example.org\n", "127.0.0.1:53"},
		{"# nameserver 192.0.2.9\n; nameserver 192.0.2.8\n" +
			"nameserver 192.0.2.1 # here\r\n\tnameserver\t2001:db8::1\n", "192.0.2.1:53 [2001:db8::1]:53"},
		{"nameserver fe80::1%eth0", "[fe80::1%eth0]:53"},
		{"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n",
			"192.0.2.1:53 192.0.2.2:53 192.0.2.3:53"},
	} {
		file := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := readConfig(file)
		if strings.Join(got.servers, " ") != c.servers || got.timeout != 5*time.Second || got.attempts != 2 ||
			got.overTCP {
			t.Errorf("%q: %+v", c.text, got)
		}
	}
	if got := readConfig(filepath.Join(t.TempDir(), "gone")); !slices.Equal(got.servers,
		[]string{"127.0.0.1:53"}) {
		t.Errorf("without a file: %+v", got)
	}
}

func TestOptionsOfResolvConf(t *testing.T) {
	for text, want := range map[string]Client{
		"options timeout:1 attempts:3 use-vc ndots:3 edns0": {timeout: time.Second, attempts: 3,
			overTCP: true},
		"options timeout:100\noptions attempts:100": {timeout: 30 * time.Second, attempts: 5},
		"options timeout:0 attempts:-1":             {timeout: time.Second, attempts: 1},
		"options timeout: attempts:x attempts":      {timeout: 5 * time.Second, attempts: 2},
	} {
		file := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := readConfig(file)
		if got.timeout != want.timeout || got.attempts != want.attempts || got.overTCP != want.overTCP {
			t.Errorf("%q: %+v", text, got)
		}
	}
	three := []string{"a", "b", "c"}
	if got := rotated(slices.Clone(three)); len(got) != 3 ||
		!strings.Contains("abcab", strings.Join(got, "")) {
		t.Errorf("rotated: %q", got)
	}
}

func TestReverseNamesAreThoseOfTheStandards(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.10":        "10.2.0.192.in-addr.arpa", // RFC 1035 section 3.5
		"::ffff:192.0.2.10": "10.2.0.192.in-addr.arpa",
		// RFC 3596 section 2.5
		"4321:0:1:2:3:4:567:89ab": "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa",
	} {
		if got := ReverseName(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: %s", ip, got)
		}
	}
}
