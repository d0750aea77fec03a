package setup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postmend/postfix/postconf"
)

// mynetworks as postconf(5) has it: the first match decides, a file stands for its lines, of a table the
// keys count.
func TestClientsThatMayRelayAreTrusted(t *testing.T) {
	t.Parallel()
	files := t.TempDir()
	for name, text := range map[string]string{
		"networks": "# office\n10.1.0.0/16, 10.2.0.1\n[2001:db8::]/32\n!10.9.0.0/16\n",
		"cidr":     "# comment\n10.3.0.0/16 OK\n192.0.2.0/24\tREJECT\n  more of the result\n",
		"if":       "if 10.0.0.0/8\n10.3.0.0/16 OK\nendif\n",
		"texthash": "10.4.0.1 OK\n10.4.0.2 OK\n",
	} {
		if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for list, want := range map[string]string{
		"127.0.0.0/8 [::1]/128":                 "",
		"10.0.0.0/8, 192.0.2.7 [2001:db8::]/32": "10.0.0.0/8 192.0.2.7/32 2001:db8::/32",
		"!10.0.0.1 10.0.0.0/30":                 "10.0.0.0/32 10.0.0.2/31",
		"10.0.0.0/30 !10.0.0.1":                 "10.0.0.0/30",
		"!10.0.0.0/8 10.1.2.3":                  "",
		"DIR/networks":                          "10.1.0.0/16 10.2.0.1/32 2001:db8::/32",
		// "!" turns the file's own "!" around
		"!DIR/networks 10.2.0.0/31":                 "10.9.0.0/16 10.2.0.0/32",
		"cidr:DIR/cidr":                             "10.3.0.0/16 192.0.2.0/24",
		"cidr:{{10.3.0.0/16 OK}, {10.4.0.0/16 OK}}": "10.3.0.0/16 10.4.0.0/16",
		"proxy:texthash:DIR/texthash":               "10.4.0.1/32 10.4.0.2/32",
		"127.0.0.0/8 cidr:DIR/if":                   "error if 10.0.0.0/8",
		"127.0.0.0/8 mysql:DIR/networks.cf":         "error mysql:",
		"127.0.0.0/8 regexp:DIR/networks":           "error regexp:",
		"127.0.0.0/8 client.example.net":            "error client.example.net",
		"DIR/missing":                               "error missing",
	} {
		list, want = strings.ReplaceAll(list, "DIR", files), strings.ReplaceAll(want, "DIR", files)
		h := newHost(t, "mynetworks = "+list+"\n", "")
		networks, err := trustedNetworks(&Options{}, h.open())
		var got []string
		for _, network := range networks {
			got = append(got, network.String())
		}
		if message, fails := strings.CutPrefix(want, "error "); fails {
			if err == nil || !strings.Contains(err.Error(), message) ||
				!strings.Contains(err.Error(), "--trusted-networks") {
				t.Errorf("%s: %q, %v", list, got, err)
			}
			continue
		}
		if want != "" {
			want = "127.0.0.0/8 ::1/128 " + want
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, %v, want %s", list, got, err, want)
		}
		given, err := trustedNetworks(&Options{TrustedNetworks: "192.0.2.0/24"}, h.open())
		if err != nil || len(given) != 3 || given[2].String() != "192.0.2.0/24" {
			t.Errorf("%s: --trusted-networks: %v, %v", list, given, err)
		}
	}
}

// What mynetworks_style comes to is Postfix's to say.
func TestTheNetworksOfAStyleAreTrusted(t *testing.T) {
	t.Parallel()
	h := newHost(t, "mynetworks_style = subnet\n", "")
	text, err := h.open().Expand("mynetworks")
	if err != nil {
		t.Fatal(err)
	}
	networks, err := trustedNetworks(&Options{}, h.open())
	for _, item := range postconf.List(text) {
		want, notOne := parseNetwork(item)
		found := false
		for _, network := range networks {
			found = found || network.Bits() <= want.Bits() && network.Contains(want.Addr())
		}
		if err != nil || notOne != nil || !found && !want.Addr().IsLoopback() {
			t.Errorf("mynetworks is %q: %v, %v", text, networks, err)
		}
	}
}
