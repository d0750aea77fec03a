package store

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postmend/srs"
	"postmend/tests/peer"
)

func on(t testing.TB, url, user, password string, now time.Time) Store {
	t.Helper()
	o := Options{URL: url, User: user, Timeout: 10 * time.Second, Now: func() time.Time { return now }}
	if password != "" {
		o.Password = func() (string, error) { return password, nil }
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRedisKeepsSendersAsFilesDo(t *testing.T) {
	redis := peer.StartRedis(t)
	for name, url := range map[string]string{
		"Unix socket":               "redis+unix://" + redis.Socket,
		"TCP":                       "redis://127.0.0.1:" + redis.Port + "/4",
		"another database":          "redis://127.0.0.1:" + redis.Port + "/5",
		"another database, by path": "redis+unix://" + redis.Socket + "?db=6",
	} {
		t.Run(name, func(t *testing.T) {
			today := time.Now()
			key := srs.Key{Day: today.Unix() / 86400, Token: key.Token}
			s := on(t, url, "", "", today)
			if _, err := s.Get(t.Context(), key); !errors.Is(err, srs.ErrUnknown) {
				t.Fatalf("before Put: %v", err)
			}
			for _, sender := range []string{sender, `"odd@local \" x"@example.net`, "ü@example.net"} {
				put(t, s, key, sender)
				wantSender(t, s, key, sender)
			}
			for n := range 1200 { // more than one SCAN gives
				put(t, s, srs.Key{Day: key.Day, Token: token(n)}, sender)
			}
			found := map[srs.Key]bool{}
			for _, entry := range list(t, s) {
				if entry.Err != nil || entry.Sender == "" {
					t.Fatalf("%+v", entry)
				}
				found[entry.Key] = true
			}
			if len(found) != 1201 {
				t.Errorf("%d entries listed", len(found))
			}
		})
	}
	t.Run("after a crash", func(t *testing.T) {
		s := on(t, "redis+unix://"+redis.Socket, "", "", time.Now())
		key := srs.Key{Day: time.Now().Unix() / 86400, Token: key.Token}
		put(t, s, key, sender)
		redis.Kill()
		wantTrouble(t, s, key)
		redis.Start()
		wantSender(t, s, key, sender)
	})
	t.Run("hanging", func(t *testing.T) {
		if err := redis.Process().Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = redis.Process().Signal(syscall.SIGCONT) }()
		s := on(t, "redis+unix://"+redis.Socket, "", "", time.Now())
		s.(*server).timeout = 100 * time.Millisecond
		wantTrouble(t, s, key)
	})
}

func TestRedisForgetsAnEntryTwoDaysAfterItsAlias(t *testing.T) {
	redis := peer.StartRedis(t)
	url := "redis+unix://" + redis.Socket
	now := time.Now()
	key := srs.Key{Day: now.Unix() / 86400, Token: key.Token}
	put(t, on(t, url, "", "", now), key, sender)
	replies, err := on(t, url, "", "", now).(*server).ask(t.Context(), []string{"EXPIRETIME", serverKey(key)})
	if err != nil {
		t.Fatal(err)
	}
	// The alias is valid for 21 days more than its own, and a host may have a clock that is a day late.
	seconds, err := time.ParseDuration(replies[0].text + "s")
	last := time.Unix((key.Day+22)*86400, 0)
	gone := time.Unix(0, 0).Add(seconds)
	if err != nil || gone.Before(last.AddDate(0, 0, 1)) || gone.After(last.AddDate(0, 0, 3)) {
		t.Errorf("goes at %v; the alias expires at %v, %v", gone, last, err)
	}
}

func TestRedisThatWantsALogin(t *testing.T) {
	redis := peer.StartRedis(t, "--requirepass", "letmein", "--user", "postmend", "on", ">s3cr3t",
		"~postmend:*", "+set", "+get", "+select")
	url := "redis+unix://" + redis.Socket
	for _, tc := range []struct {
		user, password, want string
	}{
		{"", "", "NOAUTH"},
		{"", "wrong", "WRONGPASS"},
		{"postmend", "wrong", "WRONGPASS"},
		{"", "letmein", ""},
		{"postmend", "s3cr3t", ""},
	} {
		s := on(t, url, tc.user, tc.password, morning)
		err := s.Put(t.Context(), key, sender)
		if tc.want == "" && err != nil || tc.want != "" &&
			(err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%q, %q: %v; want %q", tc.user, tc.password, err, tc.want)
		}
		if tc.want == "" {
			wantSender(t, s, key, sender)
		} else {
			wantTrouble(t, s, key)
		}
	}
}

func TestRedisThatTakesNothing(t *testing.T) {
	for want, args := range map[string][]string{
		"READONLY": {"--replicaof", "127.0.0.1", "1", "--replica-read-only", "yes"},
		"OOM":      {"--maxmemory", "1", "--maxmemory-policy", "noeviction"},
	} {
		t.Run(want, func(t *testing.T) {
			redis := peer.StartRedis(t, args...)
			err := at(t, "redis+unix://"+redis.Socket, morning).Put(t.Context(), key, sender)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRedisByTLSIsVerified(t *testing.T) {
	dir := t.TempDir()
	certificate, private := selfSigned(t, dir, "localhost")
	port := peer.FreePort(t)
	redis := peer.StartRedis(t, "--tls-port", port, "--tls-cert-file", certificate, "--tls-key-file", private,
		"--tls-ca-cert-file", certificate, "--tls-auth-clients", "no")
	other, _ := selfSigned(t, t.TempDir(), "localhost")
	trusting := func(url, authority string) Store {
		s := at(t, url, morning)
		if authority != "" {
			s.(*server).rootCAs = func() (*x509.CertPool, error) {
				text, err := os.ReadFile(authority)
				pool := x509.NewCertPool()
				pool.AppendCertsFromPEM(text)
				return pool, err
			}
		}
		return s
	}
	s := trusting("rediss://localhost:"+port, certificate)
	put(t, s, key, sender)
	wantSender(t, s, key, sender)
	for name, tc := range map[string]struct{ url, authority, want string }{
		"another name":             {"rediss://127.0.0.1:" + port, certificate, "127.0.0.1"},
		"another authority":        {"rediss://localhost:" + port, other, "certificate"},
		"no authority of ours":     {"rediss://localhost:" + port, "", "store_ca_file"},
		"a file that is missing":   {"rediss://localhost:" + port, "missing.pem", "missing.pem"},
		"a server that has no TLS": {"rediss://localhost:" + redis.Port, certificate, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := trusting(tc.url, tc.authority)
			if tc.want == "" { // it waits for the rest of a command
				s.(*server).timeout = 100 * time.Millisecond
			}
			wantTrouble(t, s, key)
			if err := s.Put(t.Context(), key, sender); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Put: %v, want an error with %q", err, tc.want)
			}
		})
	}
}

// selfSigned makes a certificate for a name, and gives the files of it and of its key.
func selfSigned(t testing.TB, dir, name string) (certificate, private string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, private = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: der}, private: {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, private
}
