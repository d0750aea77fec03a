package reinject

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"math/big"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// authority is a certificate authority of this test's own, with a server certificate for 127.0.0.1.
func authority(t *testing.T) (*x509.CertPool, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	return pool, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// trusting gives the authorities as a file would.
func trusting(pool *x509.CertPool) func() (*x509.CertPool, error) {
	return func() (*x509.CertPool, error) { return pool, nil }
}

const secret = "s3cr3t pässword"

// password gives a secret, as a file would.
func password(secret string) func() (string, error) {
	return func() (string, error) { return secret, nil }
}

func TestSTARTTLSIsFollowedByASecondEHLOWhoseOffersCount(t *testing.T) {
	pool, config := authority(t)
	s := (&scripted{offers: []string{"PIPELINING", "STARTTLS"}, tls: config}).start(t)
	target := s.target(t,
		Options{Target: "smtp://" + s.address + "?starttls=required", RootCAs: trusting(pool)})
	if _, err := target.Send(guarded(t), Client{}, nil, simple()); err != nil {
		t.Fatal(err)
	}
	assertCommands(t, s.heard(t, 1)[0], "EHLO mx.example.org", "STARTTLS", "EHLO mx.example.org",
		"MAIL FROM:<alice@example.com>", "RCPT TO:<bob@example.net>", "DATA", "QUIT")
}

func TestSMTPSIsEncryptedFromTheFirstOctet(t *testing.T) {
	pool, config := authority(t)
	s := (&scripted{offers: postfixOffers, tls: config, immediate: true}).start(t)
	target := s.target(t, Options{Target: "smtps://" + s.address, RootCAs: trusting(pool)})
	results, err := target.Send(guarded(t), Client{}, nil, simple())
	if err != nil || results[0].QueueID != "4F1Zz0" {
		t.Errorf("got %+v, %v", results, err)
	}
}

func TestEncryptionThatIsRequiredIsHadOrNothingIsSent(t *testing.T) {
	_, config := authority(t)
	for _, tc := range []struct {
		name   string
		server *scripted
		query  string
		stage  string
	}{
		{"not offered", &scripted{}, "?starttls=required", "STARTTLS"},
		{"refused", &scripted{offers: []string{"STARTTLS"}, tls: config,
			answer: replies{"STARTTLS": "454 4.7.0 not available"}.to}, "?starttls=required", "STARTTLS"},
		{"unknown authority", &scripted{offers: []string{"STARTTLS"}, tls: config},
			"?starttls=required", "TLS"},
		// Octets after the reply and before the handshake would be read as if they had come encrypted.
		{"reply injected", &scripted{offers: []string{"STARTTLS"}, tls: config,
			answer: replies{"STARTTLS": "220 go\r\n250-evil\r\n250 XFORWARD NAME"}.to},
			"?starttls=required", "STARTTLS"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tc.server.start(t)
			_, err := s.target(t, Options{Target: "smtp://" + s.address + tc.query}).Send(guarded(t),
				Client{}, nil, simple())
			if e, ok := errors.AsType[*Error](err); !ok || e.Stage != tc.stage || !e.Temporary() {
				t.Errorf("got %v, want a temporary error at %s", err, tc.stage)
			}
			d := s.heard(t, 1)[0]
			if slices.ContainsFunc(d.commands, func(c string) bool { return strings.HasPrefix(c, "MAIL") }) {
				t.Errorf("heard %q", d.commands)
			}
		})
	}
}

func TestOpportunisticEncryptionTakesWhatItGets(t *testing.T) {
	_, config := authority(t)
	for _, offers := range [][]string{{"STARTTLS"}, nil} {
		s := (&scripted{offers: offers, tls: config}).start(t)
		_, err := s.target(t, Options{Target: "smtp://" + s.address + "?starttls=opportunistic"}).Send(
			guarded(t), Client{}, nil, simple())
		if err != nil {
			t.Errorf("offers %q: %v", offers, err)
		}
		if d := s.heard(t, 1)[0]; slices.Contains(d.commands, "STARTTLS") != (offers != nil) {
			t.Errorf("offers %q: heard %q", offers, d.commands)
		}
	}
}

func TestOpportunisticEncryptionThatFailsIsDoneWithoutAndSaidSo(t *testing.T) {
	_, config := authority(t)
	old := config.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS10
	refuse := replies{"STARTTLS": "454 4.7.0 not available"}.to
	for name, server := range map[string]*scripted{
		"TLS 1.0 alone":    {offers: []string{"STARTTLS"}, tls: old},
		"STARTTLS refused": {offers: []string{"STARTTLS"}, tls: config, answer: refuse},
	} {
		t.Run(name, func(t *testing.T) {
			s := server.start(t)
			results, err := s.target(t,
				Options{Target: "smtp://" + s.address + "?starttls=opportunistic"}).Send(guarded(t), Client{},
				nil, simple())
			if err != nil || len(results[0].Warnings) != 1 ||
				!strings.HasPrefix(results[0].Warnings[0], "sent in clear text") {
				t.Fatalf("got %+v, %v, want a hand-over with a warning", results, err)
			}
			d := s.heard(t, 2)
			if d[0].dot {
				t.Error("the message was sent twice")
			}
			assertCommands(t, d[1], "EHLO mx.example.org", "MAIL FROM:<alice@example.com>",
				"RCPT TO:<bob@example.net>", "DATA", "QUIT")

			withUser := s.target(t,
				Options{Target: "smtp://" + s.address + "?starttls=opportunistic", User: "alice",
					Password: password(secret)})
			if _, err := withUser.Send(guarded(t), Client{}, nil, simple()); err == nil {
				t.Error("a password was sent after the encryption had failed")
			}
		})
	}
}

func TestAUTHUsesPLAINAndLOGINWhereThatIsAll(t *testing.T) {
	pool, config := authority(t)
	encode := base64.StdEncoding.EncodeToString
	for offered, dialogue := range map[string][]string{
		"AUTH LOGIN PLAIN":     {"AUTH PLAIN " + encode([]byte("\x00alice\x00"+secret))},
		"AUTH XOAUTH2 LOGIN":   {"AUTH LOGIN " + encode([]byte("alice")), encode([]byte(secret))},
		"AUTH=LOGIN":           {"AUTH LOGIN " + encode([]byte("alice")), encode([]byte(secret))},
		"AUTH PLAIN-CLIENTKEY": nil,
		"HELP":                 nil,
	} {
		t.Run(offered, func(t *testing.T) {
			s := (&scripted{offers: []string{offered}, tls: config, immediate: true,
				answer: func(_ int, verb string) string {
					switch {
					case verb == "AUTH" && len(dialogue) > 1:
						return "334 UGFzc3dvcmQ6" // Password:
					case len(dialogue) > 1 && verb == dialogue[1], verb == "AUTH":
						return "235 2.7.0 welcome"
					}
					return ""
				}}).start(t)
			target := s.target(t,
				Options{Target: "smtps://" + s.address, RootCAs: trusting(pool), User: "alice",
					Password: password(secret)})
			_, err := target.Send(guarded(t), Client{}, nil, simple())
			heard := s.heard(t, 1)[0].commands
			if dialogue == nil {
				if e, ok := errors.AsType[*Error](err); !ok || e.Stage != "AUTH" || !e.Temporary() {
					t.Errorf("got %v, want a temporary error at AUTH", err)
				}
				return
			}
			if err != nil || !slices.Equal(heard[1:1+len(dialogue)], dialogue) {
				t.Errorf("got %v; heard %q, want %q", err, heard, dialogue)
			}
		})
	}
}

func TestALongInitialResponseWaitsForTheChallenge(t *testing.T) {
	// RFC 4954 section 4 keeps AUTH with its initial response within the 512 octets of a command line.
	long := strings.Repeat("p", 600)
	response := base64.StdEncoding.EncodeToString([]byte("\x00alice\x00" + long))
	s := (&scripted{offers: []string{"AUTH PLAIN"},
		answer: replies{"AUTH": "334 ", response: "235 2.7.0 welcome"}.to}).start(t)
	target := s.target(t, Options{User: "alice", Password: password(long)})
	if _, err := target.Send(guarded(t), Client{}, nil, simple()); err != nil {
		t.Fatal(err)
	}
	if heard := s.heard(t, 1)[0].commands; !slices.Equal(heard[1:3], []string{"AUTH PLAIN", response}) {
		t.Errorf("heard %q", heard)
	}
}

func TestNoErrorTellsThePassword(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte("\x00alice\x00" + secret))
	for _, answer := range []string{"535 5.7.8 no: " + encoded, "454 4.7.0 " + secret,
		"garbage " + secret + " " + encoded, "334 !" + secret,
		"334 " + base64.StdEncoding.EncodeToString([]byte(secret))} {
		s := (&scripted{offers: []string{"AUTH PLAIN"}, answer: replies{"AUTH": answer}.to}).start(t)
		target := s.target(t, Options{User: "alice", Password: password(secret)})
		_, err := target.Send(guarded(t), Client{}, nil, simple())
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Stage != "AUTH" || !e.Temporary() {
			t.Fatalf("got %v, want a temporary error at AUTH", err)
		}
		for _, word := range []string{"s3cr3t", encoded[4:12],
			base64.StdEncoding.EncodeToString([]byte(secret))[:8]} {
			if strings.Contains(err.Error(), word) || strings.Contains(e.Text, word) {
				t.Errorf("after %q the error is %q", answer, err)
			}
		}
	}
}

func TestAPasswordNeverLeavesTheHostInClearText(t *testing.T) {
	for _, target := range []string{"smtp://mail.example.org:587?starttls=never",
		"smtp://mail.example.org:587?starttls=opportunistic", "smtp://192.0.2.1:587?starttls=never",
		"smtp://localhost.example.org:25?starttls=never"} {
		if _, err := New(Options{Target: target, User: "alice", Password: password(secret)}); err == nil ||
			!strings.Contains(err.Error(), "starttls=required") {
			t.Errorf("%s with a user: got %v", target, err)
		}
	}
	// What the name stood for when it was configured may not be where the connection went.
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	s := &session{target: &smtpTarget{user: "alice", password: password(secret)}, ctx: context.Background(),
		dialled: ours, offered: map[string]string{"AUTH": "PLAIN"}}
	s.use(ours)
	if err := s.authenticate(); !errors.Is(err, errClearText) {
		t.Errorf("a connection of unknown nature: got %v", err)
	}
	for address, within := range map[net.Addr]bool{
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}: true, &net.TCPAddr{IP: net.IPv6loopback}: true,
		&net.UnixAddr{Name: "/s"}: true, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}: false,
		&net.TCPAddr{IP: net.ParseIP("fe80::1")}: false} {
		if withinHost(address) != within {
			t.Errorf("%v within this host: %v", address, !within)
		}
	}
}

func TestTargetsAreUnderstoodOrRefusedWithWhatIsAllowed(t *testing.T) {
	for target, want := range map[string]smtpTarget{
		"smtp://127.0.0.1:10026": {network: "tcp", address: "127.0.0.1:10026",
			host: "127.0.0.1"},
		"smtp://[::1]:25": {network: "tcp", address: "[::1]:25",
			host: "::1"},
		"smtp://localhost:25": {network: "tcp", address: "localhost:25",
			host: "localhost"},
		"smtp://mail.example.org:25": {network: "tcp", address: "mail.example.org:25",
			host: "mail.example.org", encryption: opportunistic},
		"smtp://mail.example.org:25?starttls=never": {network: "tcp", address: "mail.example.org:25",
			host: "mail.example.org"},
		"smtp://127.0.0.1:587?starttls=required": {network: "tcp", address: "127.0.0.1:587",
			host: "127.0.0.1", encryption: required},
		"smtp://mail.example.org:2?starttls=opportunistic": {network: "tcp", address: "mail.example.org:2",
			host: "mail.example.org", encryption: opportunistic},
		"smtps://mail.example.org:465": {network: "tcp", address: "mail.example.org:465",
			host: "mail.example.org", encryption: immediate},
		"unix:/var/spool/postfix/private/reinject": {network: "unix",
			address: "/var/spool/postfix/private/reinject"},
	} {
		want.helo = "mx.example.org"
		got, err := New(Options{Target: target, HELOName: "mx.example.org"})
		if err != nil || !reflect.DeepEqual(*got.carrier.(*smtpTarget), want) {
			t.Errorf("%s: got %+v, %v, want %+v", target, got, err, want)
		}
	}
	if got, err := New(Options{Target: "smtp://mail.example.org:587", User: "u",
		Password: password("p")}); err != nil ||
		got.carrier.(*smtpTarget).encryption != required {
		t.Errorf("with a user, starttls must default to required: %+v, %v", got, err)
	}
	for target, want := range map[string]string{
		"mail.example.org:25":                    "smtp://HOST:PORT",
		"lmtp:unix:/x":                           "smtp://HOST:PORT",
		"smtp:127.0.0.1:25":                      "smtp://HOST:PORT",
		"smtp://127.0.0.1":                       "smtp://HOST:PORT",
		"smtp://:25":                             "smtp://HOST:PORT",
		"smtp://::1:25":                          "[::1]:PORT",
		"smtp://127.0.0.1:0":                     "smtp://HOST:PORT",
		"smtp://127.0.0.1:99999":                 "smtp://HOST:PORT",
		"smtp://127.0.0.1:smtp":                  "smtp://HOST:PORT",
		"smtp://127.0.0.1:25/path":               "smtp://HOST:PORT",
		"smtp://ho st:25":                        "smtp://HOST:PORT",
		"smtp://127.0.0.1:25?starttls=maybe":     "starttls=never",
		"smtp://127.0.0.1:25?tls=required":       "starttls=never",
		"smtp://127.0.0.1:25?required":           "starttls=never",
		"smtps://127.0.0.1:465?starttls=never":   "starttls=never",
		"unix:relative":                          "absolute path",
		"unix:/a\x00b":                           "absolute path",
		"sendmail:sendmail":                      "absolute path",
		"stdout:/x":                              "stdout:",
		"smtp://alice:" + secret + "@mail.ex:25": "password",
	} {
		_, err := New(Options{Target: target})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got %v, want an error that says %q", target, err, want)
		}
	}
	for _, o := range []Options{{User: "u"}, {Password: password("p")}, {HELOName: "a b"},
		{HELOName: "a\r\nMAIL"}, {HELOName: "bücher"}, {User: "a\x00b", Password: password("p")},
		{Target: "stdout:", User: "u", Password: password("p")}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}
