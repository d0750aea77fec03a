package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postmend/filter/authn/dnsserver"
)

func TestExplainShowsThePlanAndSendsNothing(t *testing.T) {
	w := newWorld(t)
	args := []string{"explain", "-f", "alice@b.example", "--client-address=192.0.2.1",
		"--original-recipient=info@example.org", "--", "bob@remote.example"}
	exit, out, _ := w.run(aMessage, args...)
	if exit != 0 || !strings.Contains(out, "forwarded") ||
		!strings.Contains(out, "<bob@remote.example> via <info@example.org>") ||
		!strings.Contains(out, "sender rewritten by SRS") || strings.Contains(out, "Subject:") {
		t.Errorf("exit %d\n%s", exit, out)
	}
	exit, out, _ = w.run(aMessage, append([]string{"explain", "--json"}, args[1:]...)...)
	var got struct {
		Deliveries []struct {
			Class, Sender string
			SignAs        string `json:"sign_as"`
		}
		FromDomains []string `json:"from_domains"`
	}
	err := json.Unmarshal([]byte(out), &got)
	if err != nil || exit != 0 || got.Deliveries[0].Class != "forwarded" ||
		got.Deliveries[0].SignAs != "example.org" || got.FromDomains[0] != "b.example" {
		t.Errorf("exit %d, %v\n%s", exit, err, out)
	}
	exit, out, _ = w.run(aMessage, "explain", "-f", "", "--", "SRS0=AAAA=AA=b.example=x@srs.example.org")
	if exit != 0 || !strings.Contains(out, "refused") {
		t.Errorf("a refusal: exit %d\n%s", exit, out)
	}
}

// A key that cannot be used defers the message, so explain says so.
func TestExplainTellsOfAKeyThatCannotBeUsed(t *testing.T) {
	w := newWorld(t)
	w.check(os.Chmod(filepath.Join(filepath.Dir(w.config), "key.pem"), 0o644))
	exit, out, _ := w.run(aMessage, "explain", "-f", "", "--", "bob@remote.example")
	if exit != 0 || !strings.Contains(out, "deferred") || !strings.Contains(out, "open to other accounts") {
		t.Errorf("exit %d\n%s", exit, out)
	}
}

// What docs/configuration.md says of Sieve, Mailman and the like.
func TestMailThatAProgramOnThisHostSendsOn(t *testing.T) {
	dns, err := dnsserver.Start("_dmarc.b.example TXT v=DMARC1; p=reject\nb.example TXT v=spf1 " +
		"ip4:192.0.2.1 -all\n_dmarc.example.org TXT v=DMARC1; p=reject\nexample.org TXT v=spf1 " +
		"ip4:192.0.2.80 -all\nmx.example.org A 192.0.2.80\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	const foreign, own = "alice@b.example", "app@example.org"
	const arrived = "Authentication-Results: milter.example.org; spf=pass smtp.mailfrom=b.example\n"
	for _, c := range []struct {
		name, settings, client, sender, field string
		want                                  []string
	}{
		{"by sendmail(1)", "", "", foreign, "",
			[]string{"class outgoing", "leaves with <SRS0=", "From: unchanged", "signature none",
				"ARC set none"}},
		{"by SMTP on loopback", "", "127.0.0.1", foreign, "",
			[]string{"class outgoing", "leaves with <SRS0=", "From: unchanged", "signature none"}},
		{"a list that rewrites From:", "", "127.0.0.1", own, "",
			[]string{"class outgoing", "signature example.org"}},
		{"by way of a client, with a milter's results", `trusted_authserv_ids = ["milter.example.org"]`,
			"192.0.2.80", foreign, arrived,
			[]string{"class forwarded", "leaves with <SRS0=", "because From: rewritten",
				"signature example.org", "ARC set added"}},
		{"by way of a client, without", "", "192.0.2.80", foreign, "",
			[]string{"DMARC fail", "forwarded unchanged"}},
		{"loopback not trusted", "trusted_networks = []", "127.0.0.1", foreign, "",
			[]string{"DMARC fail", "forwarded unchanged", "leaves with <alice@b.example>"}},
		{"loopback not trusted, our own From:", "trusted_networks = []", "127.0.0.1", own, "",
			[]string{"refused This message says it is from example.org, a domain of this server"}},
	} {
		w := newWorld(t, "[srs]", "resolver = \""+dns.Addr()+"\"\n"+c.settings+"\n[srs]").withRSA()
		exit, out, errs := w.run(c.field+"From: "+c.sender+"\n\nbody\n", "explain", "-f", c.sender,
			"--client-address", c.client, "--", "bob@remote.example")
		words := strings.Join(strings.Fields(out), " ")
		for _, want := range c.want {
			if exit != 0 || !strings.Contains(words, want) {
				t.Errorf("%s: exit %d, no %q in\n%s%s", c.name, exit, want, out, errs)
			}
		}
	}
}
