package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postmend/dkim"
	"postmend/dkim/arc"
	"postmend/filter/authn/dnsserver"
)

func TestVerifyAndExplainShowTheChain(t *testing.T) {
	pem, err := dkim.GenerateKey("rsa2048")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "list.pem")
	if err := os.WriteFile(file, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := dkim.LoadKey("list.example", "a1", file)
	if err != nil {
		t.Fatal(err)
	}
	record, err := key.Record()
	if err != nil {
		t.Fatal(err)
	}
	dns, err := dnsserver.Start(key.RecordName() + " TXT " + record)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	header, n := dkim.SplitHeader([]byte(aMessage))
	body := dkim.NewBodyHash(dkim.Relaxed)
	io.WriteString(body, aMessage[n+1:]) // without the empty line
	body.Close()
	set, err := arc.Read(header).Seal(header, body,
		arc.Sealing{Key: key, Results: "list.example; dmarc=pass header.from=b.example", Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	var sealed string
	for _, field := range set {
		sealed += strings.ReplaceAll(string(field), "\r\n", "\n")
	}
	sealed += aMessage

	w := newWorld(t, `hostname = "mx.example.org"`, "hostname = \"mx.example.org\"\nresolver = \""+dns.Addr()+
		`"`).withRSA()
	client := []string{"-f", "alice@b.example", "--client-address=2001:db8::1"}
	if exit, out, _ := w.run(sealed, append([]string{"verify"}, client...)...); exit != 0 ||
		!strings.Contains(out, "\n\tarc=pass header.oldest-pass=0 smtp.remote-ip=\"2001:db8::1\"\n") {
		t.Errorf("verify: exit %d\n%s", exit, out)
	}
	exit, out, _ := w.run(sealed,
		append(append([]string{"explain"}, client...), "--", "bob@remote.example")...)
	for _, want := range []string{"ARC pass", "set 1 sealed by list.example, selector a1", "ARC set added"} {
		if exit != 0 || !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
			t.Errorf("explain: exit %d, no %q\n%s", exit, want, out)
		}
	}
	_, out, _ = w.run(sealed+"more\n",
		append(append([]string{"explain"}, client...), "--", "bob@remote.example")...)
	if !strings.Contains(out, "message signature 1: body hash did not verify") {
		t.Errorf("explain does not tell why the chain is broken:\n%s", out)
	}
	if exit, _, _ := w.run(sealed,
		append(append([]string{"filter"}, client...), "--", "bob@remote.example")...); exit != 0 ||
		!strings.Contains(w.logged(), " arc=pass ") {
		t.Errorf("filter: exit %d, the log has no arc=pass", exit)
	}
}
