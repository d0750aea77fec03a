package check

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"postmend/dkim"
	"postmend/filter/config"
)

// Where DNS does not answer, or there is nothing to judge, nothing is called right.
func TestNothingIsCalledRightThatIsNotKnown(t *testing.T) {
	silent := &net.DNSError{Err: "i/o timeout", IsTimeout: true}
	missing := &net.DNSError{Err: "no such host", IsNotFound: true}
	text, err := dkim.GenerateKey("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	private, err := dkim.LoadKey("example.org", "a", file)
	if err != nil {
		t.Fatal(err)
	}
	key := func(err error) []publishedKey {
		return []publishedKey{{ownKey: ownKey{key: private}, err: err}}
	}
	relay := published{relayhost: "[relay.example]"}
	srs := func(err error) sender { return sender{domain: "srs.example.org", err: err} }
	for _, row := range []struct {
		why  string
		p    published
		name string
	}{
		{"the key's record is not known", published{bouncesAreSigned: true, keys: key(silent)},
			"dns-spf-hostname"},
		{"there is no such record", published{bouncesAreSigned: true, keys: key(missing)},
			"dns-spf-hostname"},
		{"a relay sends bounces", relay, "dns-spf-hostname"},
		{"no SPF answer", published{helo: sender{domain: "mx.example.org", err: silent}}, "dns-spf-hostname"},
		{"no SRS domain", published{}, "dns-spf"},
		{"no SRS domain", published{}, "dns-mx"},
		{"no keys", published{}, "dns-dkim"},
		{"no keys", published{}, "dns-dmarc"},
		{"no answer for the key", published{keys: key(silent)}, "dns-dkim"},
		{"no answer for the MX", published{srs: srs(nil), mxErr: silent}, "dns-mx"},
		{"no answer for the SPF record", published{srs: srs(silent)}, "dns-spf"},
		{"no answer for the host", published{hostErr: errors.New("no answer")}, "dns-hostname"},
	} {
		row.p.own = &own{config: &config.Config{OutboundAddresses: []string{"192.0.2.1"}}}
		for _, f := range row.p.judge() {
			if f.Name == row.name && f.Severity == OK {
				t.Errorf("%s: %s", row.why, f.What)
			}
		}
	}
}
