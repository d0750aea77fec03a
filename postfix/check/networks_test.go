package check

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"postmend/postfix/setup"
)

// smtpd_relay_restrictions are read up to what ends relaying.
func TestClientsThatRelayByOtherMeansAreNamed(t *testing.T) {
	for restrictions, want := range map[string]string{
		"permit_mynetworks, permit_tls_clientcerts, " +
			"reject_unauth_destination": "permit_tls_clientcerts",
		"check_client_access hash:/x, " +
			"permit_sasl_authenticated, reject": "check_client_access",
		"permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination":          "",
		"permit_mynetworks, reject_unauth_destination, check_client_access cidr:/blocked": "",
	} {
		faults := judgeRelayClients(hostOf(t, mainLines+"smtpd_relay_restrictions = "+restrictions+"\n",
			masterLines, postmend{}))
		if (len(faults) == 1) != (want != "") || want != "" && !strings.Contains(faults[0].What, want) {
			t.Errorf("%s: %+v", restrictions, faults)
		}
	}
}

// postconf(5) allows smtpd_hide_client_session for services where clients log in. By LMTP, nothing else tells
// of the login.
func TestHiddenLoginsAreNamed(t *testing.T) {
	const hides = "\n  -o smtpd_hide_client_session=yes\n"
	const lmtp = "postmend unix - - n - 100 lmtp\n"
	for services, want := range map[string]string{
		"smtp inet n - n - - smtpd\nsubmission inet n - n - - smtpd\n" + lmtp:           "",
		"smtp inet n - n - - smtpd\nsubmission inet n - n - - smtpd" + hides + lmtp:     "submission/inet",
		"smtp inet n - n - - smtpd\nsubmission inet n - n - - smtpd" + hides:            "",
		"smtp inet n - n - - smtpd" + hides + "submission inet n - n - - smtpd\n":       "smtp/inet",
		"submission inet n - n - - smtpd" + hides + "  -o content_filter=other:\n":      "submission/inet",
		"submission inet n - n - - smtpd" + hides + "  -o smtpd_proxy_filter=[::1]:9\n": "submission/inet",
		"25 inet n - n - - smtpd" + hides + lmtp + "465 inet n - n - - smtpd" + hides:   "25/inet 465/inet",
	} {
		h := hostOf(t, "mydestination = example.org\ncontent_filter = postmend:inet:127.0.0.1:10025\n",
			services, postmend{})
		var names []string
		for _, f := range judgeHiddenLogins(h) {
			id, _, _ := strings.Cut(strings.TrimPrefix(f.What, "smtpd_hide_client_session = yes of "), " ")
			if names = append(names, id); !strings.Contains(f.Mend, id+"/smtpd_hide_client_session") {
				t.Errorf("%q", f.Mend)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %q, want %q", services, got, want)
		}
	}
}

// What mynetworks_style comes to on this machine is Postfix's to say.
func TestNetworksByStyleAreComparedToo(t *testing.T) {
	h := hostOf(t, mainLines+"mynetworks_style = subnet\ninet_interfaces = all\n", masterLines, postmend{})
	networks, err := setup.Networks(h.config)
	if err != nil {
		t.Fatal(err)
	}
	h.Trusted = networks
	if faults := judgeNetworks(h); faults != nil {
		t.Errorf("the same: %+v", faults)
	}
	stranger := netip.MustParsePrefix("198.51.100.0/24")
	h.Trusted = append(slices.Clone(networks), stranger)
	if faults := judgeNetworks(h); len(faults) != 1 || faults[0].Severity != Warning ||
		!strings.Contains(faults[0].What, stranger.String()) {
		t.Errorf("one more: %+v", faults)
	}
	h.Trusted = networks[:1]
	if faults := judgeNetworks(h); (len(faults) == 1) != (len(networks) > 2) {
		t.Errorf("%d networks, and only loopback trusted: %+v", len(networks), faults)
	}
}

// proc(5) writes the octets of an address from the last to the first.
func TestAContainersGatewayIsNamed(t *testing.T) {
	const routes = "Iface\tDestination\tGateway \tFlags\neth0\t000011AC\t00000000\t0001\n" +
		"eth0\t00000000\t010011AC\t0003\n"
	gateway := defaultGateway(routes)
	if gateway != netip.MustParseAddr("172.17.0.1") || defaultGateway("Iface\n").IsValid() {
		t.Fatalf("%v", gateway)
	}
	h := hostOf(t, mainLines, masterLines, postmend{})
	h.gateway = gateway
	for _, row := range []struct {
		trusted  string
		severity Severity
	}{{"172.16.0.0/12", Warning}, {"127.0.0.0/8", ""}} {
		h.Trusted = []netip.Prefix{netip.MustParsePrefix(row.trusted)}
		faults := judgeContainer(h)
		if len(faults) != 1 || faults[0].Severity != row.severity ||
			!strings.Contains(faults[0].What, "172.17.0.1") {
			t.Errorf("trusted %s: %+v", row.trusted, faults)
		}
	}
	h.gateway = netip.Addr{}
	if faults := judgeContainer(h); faults != nil {
		t.Errorf("outside of a container: %+v", faults)
	}
}
