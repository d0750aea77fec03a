package reinject

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// issue makes a certificate; a nil issuer is itself.
func issue(t *testing.T, template *x509.Certificate, issuer *tls.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	parent, signer := template, any(key)
	if issuer != nil {
		parent, signer = issuer.Leaf, issuer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// valid is a template that is valid for a time from now on; negative times are in the past.
func valid(name string, from, to time.Duration) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(from),
		NotAfter: time.Now().Add(to), KeyUsage: x509.KeyUsageDigitalSignature}
}

func TestTheErrorSaysWhyACertificateIsNotTrusted(t *testing.T) {
	ca := valid("Example Root", -time.Hour, time.Hour)
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	root := issue(t, ca, nil)
	pool := x509.NewCertPool()
	pool.AddCert(root.Leaf)
	loopback := func(c *x509.Certificate) *x509.Certificate {
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		return c
	}
	other := valid("mail", -time.Hour, time.Hour)
	other.DNSNames = []string{"a.example", "b.example", "c.example", "d.example"}
	hostile := loopback(valid("evil\r\nMAIL\x1b[2J", -time.Hour, time.Hour))
	for _, tc := range []struct {
		name        string
		certificate *tls.Certificate
		authorities func() (*x509.CertPool, error)
		want        string
	}{
		{"trusted", issue(t, loopback(valid("mail", -time.Hour, time.Hour)), root), trusting(pool), ""},
		{"authority that the system does not know",
			issue(t, loopback(valid("mail", -time.Hour, time.Hour)), root), nil,
			`issued by "CN=Example Root", which is no certificate authority of this system: ` +
				`set reinject.ca_file`},
		{"authority that is not in ca_file", issue(t, loopback(valid("mail", -time.Hour, time.Hour)), root),
			trusting(x509.NewCertPool()), `issued by "CN=Example Root", which is not in reinject.ca_file`},
		{"signed by itself", issue(t, loopback(valid("mail", -time.Hour, time.Hour)), nil), trusting(pool),
			`it is signed by itself ("CN=mail"), which is not in reinject.ca_file`},
		{"another host", issue(t, other, root), trusting(pool),
			"it is for a.example, b.example, c.example and others, not for the host of target"},
		{"no name", issue(t, valid("127.0.0.1", -time.Hour, time.Hour), root), trusting(pool),
			"it is for no host name at all"},
		{"expired", issue(t, loopback(valid("mail", -2*time.Hour, -time.Hour)), root), trusting(pool),
			`"CN=mail" is valid from `},
		{"not valid yet", issue(t, loopback(valid("mail", time.Hour, 2*time.Hour)), root), trusting(pool),
			`"CN=mail" is valid from `},
		{"hostile name", issue(t, hostile, nil), trusting(pool), `it is signed by itself`},
		{"ca_file that cannot be read", issue(t, loopback(valid("mail", -time.Hour, time.Hour)), root),
			func() (*x509.CertPool, error) {
				return nil, errors.New("reinject: ca_file: no such file")
			}, "ca_file: no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config := &tls.Config{Certificates: []tls.Certificate{*tc.certificate}}
			s := (&scripted{offers: []string{"STARTTLS"}, tls: config}).start(t)
			target := s.target(t,
				Options{Target: "smtp://" + s.address + "?starttls=required", RootCAs: tc.authorities})
			_, err := target.Send(guarded(t), Client{}, nil, simple())
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Stage != stageTLS || !e.Temporary() || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want a temporary error at TLS that says %q", err, tc.want)
			}
			if strings.ContainsAny(err.Error(), "\r\n\x1b") {
				t.Errorf("the error is %q", err)
			}
			d := s.heard(t, 1)[0]
			if slices.ContainsFunc(d.commands, func(c string) bool { return strings.HasPrefix(c, "MAIL") }) {
				t.Errorf("heard %q", d.commands)
			}
		})
	}
}

func TestACAFileIsRefusedWhereNoCertificateIsVerified(t *testing.T) {
	authorities := trusting(x509.NewCertPool())
	for _, target := range []string{"smtp://127.0.0.1:25",
		"smtp://mail.example.org:25?starttls=opportunistic", "smtp://mail.example.org:25?starttls=never",
		"unix:/socket", "sendmail:/usr/sbin/sendmail"} {
		if _, err := New(Options{Target: target, RootCAs: authorities}); err == nil ||
			!strings.Contains(err.Error(), "ca_file") {
			t.Errorf("%s: got %v, want an error about ca_file", target, err)
		}
	}
	got, err := New(Options{Target: "smtp://mail.example.org:25", RootCAs: authorities})
	if err != nil || got.carrier.(*smtpTarget).encryption != required {
		t.Errorf("with a ca_file, starttls must default to required: %+v, %v", got, err)
	}
}

func TestACAFileHasCertificatesInPEM(t *testing.T) {
	block := func(kind string, octets []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: octets}))
	}
	ca := issue(t, valid("root", -time.Hour, time.Hour), nil)
	good := block("CERTIFICATE", ca.Certificate[0])
	for name, tc := range map[string]struct{ text, want string }{
		"one":                {good, ""},
		"two with text":      {"the root\n" + good + "and again\n" + good, ""},
		"beside a parameter": {block("DH PARAMETERS", []byte("x")) + good, ""},
		"nothing":            {"", "no certificate in PEM"},
		"DER":                {string(ca.Certificate[0]), "no certificate in PEM"},
		"a key alone":        {block("PRIVATE KEY", []byte("x")), "no certificate that can be read"},
		"damaged":            {good + block("CERTIFICATE", []byte("x")), "certificate 2"},
		"cut short":          {good[:len(good)/2], "no certificate that can be read"},
	} {
		pool, err := ParseCAs([]byte(tc.text))
		if tc.want == "" && (err != nil || pool == nil) || tc.want != "" &&
			(err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}
