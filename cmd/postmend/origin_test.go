package main

import (
	"encoding/json"
	"strings"
	"testing"

	"postmend/filter/authn/dnsserver"
)

// TestExplainAndVerifyTellWhereMailThatProgramsHereSendOnCameFrom: a message arrives for a mailbox, and
// a program sends it on without a client.
func TestExplainAndVerifyTellWhereMailThatProgramsHereSendOnCameFrom(t *testing.T) {
	dns, err := dnsserver.Start("_dmarc.b.example TXT v=DMARC1; p=reject\n" +
		"b.example TXT v=spf1 ip4:192.0.2.1 -all\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	w := newWorld(t, "[srs]", "resolver = \""+dns.Addr()+"\"\n[srs]").withRSA()
	exit, sealed, errs := w.run("From: a@b.example\nSubject: x\n\nbody\n", "filter", "-f", "a@b.example",
		"--client-address=192.0.2.1", "--", "box@example.org")
	if exit != 0 {
		t.Fatalf("exit %d: %s", exit, errs)
	}
	departure := []string{"-f", "box@example.org", "--", "bob@remote.example"}
	exit, out, _ := w.run(sealed, append([]string{"explain", "--json"}, departure...)...)
	var got struct {
		Origin struct {
			Sealed                    bool
			Client, Sender, Recipient string
		}
		Deliveries []struct{ Class, Arrival string }
	}
	o := &got.Origin
	if err := json.Unmarshal([]byte(out), &got); err != nil || exit != 0 || !o.Sealed ||
		o.Client != "192.0.2.1" ||
		o.Sender != "a@b.example" || o.Recipient != "box@example.org" ||
		got.Deliveries[0].Class != "forwarded" ||
		got.Deliveries[0].Arrival != "removed" {
		t.Errorf("explain --json: exit %d, %v\n%s", exit, err, out)
	}
	const told = "sealed (intact), client 192.0.2.1, sender <a@b.example>, recipient <box@example.org>"
	if _, out, _ = w.run(sealed, append([]string{"explain"}, departure...)...); !strings.Contains(out, told) {
		t.Errorf("explain:\n%s", out)
	}
	_, out, _ = w.run(sealed, "verify", "-f", "box@example.org")
	if !strings.Contains(out, "origin: "+told) || !strings.Contains(out, "spf=pass smtp.mailfrom=b.example") {
		t.Errorf("verify:\n%s", out)
	}
	outside := append([]string{"explain", "--json", "--client-address=192.0.2.9"}, departure...)
	if _, out, _ = w.run(sealed, outside...); !strings.Contains(out, `"sealed": false`) {
		t.Errorf("of a message from outside, a seal is read:\n%s", out)
	}
	w.logged() // of the arrival
	exit, _, errs = w.run(sealed, append([]string{"filter"}, departure...)...)
	if log := w.logged(); exit != 0 || !strings.Contains(log, " origin=sealed client=192.0.2.1 ") {
		t.Errorf("exit %d, log %s\n%s", exit, log, errs)
	}
}
