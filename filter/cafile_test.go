package filter

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"postmend/filter/cause"
	"postmend/filter/config"
	"postmend/filter/plan"
	"postmend/tests/listen"
)

// A submission server whose certificate no authority of the system has issued gets the message if ca_file, a
// path beside the configuration, has its authority. Without, the message is kept and the log line tells why.
func TestASubmissionServerWithAnAuthorityOfItsOwn(t *testing.T) {
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	e := &exit{}
	server := smtp.NewServer(e)
	server.Domain = "localhost"
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(tls.NewListener(inner, &tls.Config{Certificates: web.TLS.Certificates}))
	defer server.Close()

	dir := t.TempDir()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), authority, 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(more string) (string, error) {
		t.Helper()
		path := filepath.Join(dir, "postmend.toml")
		text := "hostname = \"mx.example.org\"\nlocal_domains = [\"example.org\"]\n[reinject]\n" +
			"target = \"smtps://" +
			inner.Addr().String() + "\"\n" + more
		f := filterFrom(t, path, text)
		env := &plan.Envelope{Sender: "a@b.example", ClientAddress: "192.0.2.25", QueueID: "4bXk2w1z",
			Recipients: []plan.Recipient{{Address: "info@example.org"}}}
		log, err := f.Run(context.Background(), env, strings.NewReader("From: a@b.example\n\nbody\n"))
		return log.String(), err
	}
	if _, err := run(`ca_file = "ca.pem"`); err != nil || len(e.sent) != 1 {
		t.Errorf("with ca_file: %v", err)
	}
	for more, want := range map[string]string{
		"":                          "set reinject.ca_file",
		`ca_file = "missing.pem"`:   "ca_file: open " + dir + "/missing.pem",
		`ca_file = "postmend.toml"`: "no certificate in PEM form",
	} {
		line, err := run(more)
		if err == nil || !cause.AsFailure(err).Temporary() || !strings.Contains(line, want) ||
			!strings.Contains(line, "result=deferred") {
			t.Errorf("%q: got %v and %s, want it deferred because of %q", more, err, line, want)
		}
		status := cause.AsFailure(err).Status()
		if strings.Contains(status, dir) || strings.Contains(status, "ca_file") {
			t.Errorf("%q: the status line says %q", more, status)
		}
	}
	if len(e.sent) != 1 {
		t.Errorf("%d messages were sent", len(e.sent))
	}
}

// A server of Valkey whose certificate no authority of the system has issued is used if store_ca_file, a path
// beside the configuration, has its authority.
func TestAStoreWithAnAuthorityOfItsOwn(t *testing.T) {
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	listen.On(t, listener, func(conn net.Conn) {
		if _, err := conn.Read(make([]byte, 4096)); err == nil { // SET
			_, _ = io.WriteString(conn, "+OK\r\n")
		}
	})
	dir := t.TempDir()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	for name, content := range map[string][]byte{
		"ca.pem": authority, "secrets": []byte("a secret, and long\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for more, want := range map[string]string{
		`store_ca_file = "ca.pem"`:        "",
		`store_ca_file = "missing.pem"`:   "store_ca_file: open " + dir + "/missing.pem",
		`store_ca_file = "postmend.toml"`: "no certificate in PEM form",
		"":                                "name it in store_ca_file",
	} {
		path := filepath.Join(dir, "postmend.toml")
		text := "hostname = \"mx.example.org\"\nlocal_domains = [\"example.org\"]\n[srs]\n" +
			"domain = \"srs.example.org\"\nsecrets_file = \"secrets\"\nstore = \"rediss://" +
			listener.Addr().String() + "\"\n" + more
		f := filterFrom(t, path, text)
		alias, err := f.SRSAddress(strings.Repeat("x", 60) + "@sender.example")
		if want == "" && (err != nil || !strings.Contains(alias, "=1=")) {
			t.Errorf("%s: %q, %v", more, alias, err)
		}
		if want != "" &&
			(err == nil || !cause.AsFailure(err).Temporary() || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %q, %v; want it deferred because of %q", more, alias, err, want)
		}
	}
}

// filterFrom makes a filter of a configuration file with the given text.
func filterFrom(t *testing.T, path, text string) *Filter {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	settings, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(settings, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}
