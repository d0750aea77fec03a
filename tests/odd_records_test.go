package tests

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"postmend/filter/authn"
	"postmend/filter/authn/dnsserver"
	"postmend/tests/judge"
)

// oddSPF are zones of a domain @ whose SPF names this host, though not all receivers see that. HOST is its
// address.
var oddSPF = []string{
	"@ TXT v=spf1 ip4:HOST foo:bar -all",
	"@ TXT v=spf1 foo ip4:HOST -all",
	"@ TXT v=spf1 ip4:HOST -all\n@ TXT v=spf1 ip4:192.0.2.1 -all",
	"@ TXT v=spf1 redirect=_r.@\n_r.@ TXT v=spf1 ip4:HOST -all\n_r.@ TXT v=spf1 ip4:192.0.2.1 -all",
	"@ TXT v=spf1 include:gone.@ ip4:HOST -all",
	"@ TXT v=spf1 ip4:HOST ip4:1.2.3 -all",
	"@ TXT v=spf1 ip4:HOST; -all",
	"@ TXT v=spf1 ip4:HOST include: -all",
	"@ TXT v=spf1 ip4:HOST redirect=a.test redirect=b.test",
	"@ TXT v=spf1 ip4:HOST/33 -all",
	"@ TXT v=spf1 ipv4:HOST -all",
	"@ TXT v=spf1 ip4:HOST,192.0.2.1 -all",
	"@ TXT v=spf1 include:_i.@ -all\n_i.@ TXT v=spf1 ip4:HOST foo:bar -all",
	"@ TXT v=spf1 -include:_i.@ -all\n_i.@ TXT v=spf1 ip4:HOST -all",
	"@ TXT v=spf1 ?include:_i.@ -all\n_i.@ TXT v=spf1 ip4:HOST -all",
	"@ TXT v=spf1 ip4:HOST exp=a exp=b -all",
	"@ TXT v=spf1 ip4: HOST -all",
	"@ TXT v=spf1 ip4:HOST ~all v=spf1 -all",
	"@ TXT v=spf1 a:HOST ip4:HOST -all",
	"@ TXT v=spf1 a:HOST -all",
	"@ TXT v=spf1 -all ip4:HOST",
	"@ TXT v=spf1 ?all ip4:HOST",
	"@ TXT v=spf1 -all redirect=_r.@\n_r.@ TXT v=spf1 ip4:HOST -all",
	"@ TXT v=spf1 ip4=HOST -all",
	"@ TXT v=spf1 ip6:::ffff:HOST -all",
	"@ TXT v=spf1 ip4:::ffff:HOST -all",
	"@ TXT v=spf1 ip4:HOST/ -all",
	"@ TXT v=spf1 ip4:HOST%20 -all",
	"@ TXT v=spf1 include:%{o} ip4:HOST -all",
	"@ TXT v=spf1 ip4:HOST %{x} -all",
	"@ TXT v=spf1 -ip4:HOST ip4:HOST -all",
	"@ TXT spf2.0/pra ip4:HOST -all",
	"@ TXT spf2.0/mfrom,pra ip4:HOST -all",
	"@ TXT v=spf1ip4:HOST -all",
	"@ TXT v=spf10 ip4:HOST -all",
	"@ TXT v=spf1, ip4:HOST -all",
	"@ TXT v=spf1\tip4:HOST\t-all",
	"@ TXT V=SPF1 IP4:HOST -ALL",
	"@ TXT v=spf1 address:192.0.2.1 -all\n@ A HOST",
	"@ TXT v=spf1 abc=1 -all\n@ A HOST",
	"@ TXT v=spf1 mxx -all\n@ MX 10 mail.@\nmail.@ A HOST",
	"@ TXT v=spf1 a:mail.@/33 -all\nmail.@ A HOST",
	"@ TXT v=spf1 mx/33 -all\n@ MX 10 mail.@\nmail.@ A HOST",
	"@ TXT v=spf1 exists:one.@ foo:bar -all\none.@ A 127.0.0.2",
	"@ TXT v=spf1 exists=one.@ -all\none.@ A 127.0.0.2",
	"@ TXT v=spf1 include=_i.@ -all\n_i.@ TXT v=spf1 ip4:HOST -all",
	"@ TXT v=spf1 redirect:_r.@\n_r.@ TXT v=spf1 ip4:HOST -all",
	"@ TXT v=spf1 allow -all",
	"@ TXT v=spf1 all:x",
	"@ TXT v=spf1 include:_i.@; -all\n_i.@ TXT v=spf1 ip4:HOST -all",
	"@ TXT v=spf1 include:_i.@ -all\n_i.@ TXT v=spf1 include:_j.%{d} -all\n_j.@ TXT v=spf1 ip4:HOST -all",
	"@ TXT v=spf1 a:%{h} -all",
	"@ TXT v=spf1 a:mail.%{d1}.test -all\nmail.@.test A HOST",
	"@ TXT v=spf1 ip4:HOST -all é",
}

// oddDMARC are TXT records at _dmarc of a domain that no receiver should apply, and some do.
var oddDMARC = []string{
	`v=DMARC1\; p=reject`, "v=DMARC1; p=reject; sp=bogus", "v=DMARC1 p=reject", "v=DMARC1; p=bogus",
	"v=dmarc1; p=reject", "v=DMARC1,p=reject", "v=DMARC1:p=reject", "p=reject; v=DMARC1",
	`"v=DMARC1; p=reject"`, " v=DMARC1; p=reject", "v=DMARC1", "v=DMARC1;p=", "V=DMARC1; p=reject",
	"v=DMARC12; p=reject", "v=DMARC1; p=reject\nv=DMARC1; p=none", "v=DMARC1; p=reject\nv=dmarc1; p=none",
	"v=DMARC1; p=reject; np=bogus", "v=DMARC1; p=bogus; p=reject", "v=DMARC1; adkim=x; p=reject",
	"v=DMARC1; ; p=reject",
	"v=DMARC1;=; p=reject", "v=DMARC1; p=reject;;", "v=DMARC1p=reject", "v=DMARC1/p=reject",
	"v=DMARC1; p = reject ; fo", "v=DMARC1; p:reject", "v=DMARC 1; p=reject", "v = DMARC1; p=reject",
}

// oddDomains publishes a domain dN.example for each of the records. Its owner would not have it that we send.
type oddDomains struct {
	zone strings.Builder
	what []string // the records of domain N
}

func (o *oddDomains) add(record, lines string) {
	o.zone.WriteString(strings.NewReplacer("@", o.name(len(o.what)), "HOST",
		ourAddress).Replace(lines) + "\n")
	o.what = append(o.what, record)
}

func (o *oddDomains) name(n int) string { return fmt.Sprintf("d%d.example", n) }

func (o *oddDomains) forgery(n int) []byte {
	return fmt.Appendf(nil, "From: Boss <boss@%s>\r\nTo: alias@example.org\r\nSubject: x\r\n"+
		"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%[2]d@x.example>\r\nX-Token: %[2]d\r\n\r\n"+
		"Hello.\r\n", o.name(n), n)
}

func newOddDomains() *oddDomains {
	o := &oddDomains{}
	for _, record := range oddSPF {
		o.add(record, record+"\n_dmarc.@ TXT v=DMARC1; p=reject")
	}
	for _, records := range oddDMARC {
		o.add(records, "@ TXT v=spf1 ip4:HOST -all\n_dmarc.@ TXT "+
			strings.ReplaceAll(records, "\n", "\n_dmarc.@ TXT "))
	}
	return o
}

// TestWhatAnyJudgePassesIsTakenForAPass: of a message that this host sends with the author's domain as its
// sender.
func TestWhatAnyJudgePassesIsTakenForAPass(t *testing.T) {
	t.Parallel()
	o := newOddDomains()
	o.zone.WriteString(ourHELO + " A " + ourAddress + "\n")
	var arrivals []judge.Arrival
	for n := range o.what {
		arrivals = append(arrivals,
			judge.Arrival{Address: ourAddress, HELO: ourHELO, Sender: "boss@" + o.name(n),
				Content: o.forgery(n)})
	}
	verdicts := judge.DMARC(t, o.zone.String(), arrivals)
	server, err := dnsserver.Start(o.zone.String())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	passes := 0
	for n, arrival := range arrivals {
		resolver := authn.New(server.Addr())
		network := netip.MustParsePrefix(ourAddress + "/32")
		could := authn.CouldPassSPF(t.Context(), resolver, network, ourHELO, arrival.Sender)
		policy := authn.EvaluateDMARC(t.Context(), resolver, []string{o.name(n)},
			authn.SPF{Status: authn.None}, nil)
		for name, domains := range verdicts {
			if domains[n] == "" {
				continue
			}
			passes++
			if could.Status != authn.Pass {
				t.Errorf("%s passes %q; SPF: %+v", name, o.what[n], could)
			}
			if policy.Status == authn.None && !policy.Odd {
				t.Errorf("%s passes %q; DMARC: %+v", name, o.what[n], policy)
			}
		}
	}
	if passes < len(arrivals) {
		t.Errorf("the judges pass %d of %d domains: they do not see what this test is about", passes,
			len(arrivals))
	}
}

// TestNobodysVerifierPassesAForgeryOfADomainWithOddRecords: the forgery has the author's domain as its
// sender.
func TestNobodysVerifierPassesAForgeryOfADomainWithOddRecords(t *testing.T) {
	t.Parallel()
	w := &world{forwarder: start(t), name: "odd records", srsDomain: srsDomain, policy: "reject"}
	w.write()
	w.letters = nil
	o := newOddDomains()
	w.publish("%s", strings.TrimSpace(o.zone.String()))
	for n, records := range o.what {
		w.letters = append(w.letters, &letter{name: strconv.Quote(records), domain: o.name(n), forged: true,
			from: "boss@" + o.name(n), to: []string{"alias@example.org"},
			address: attacker, helo: "mail.attacker.example", content: o.forgery(n)})
	}
	// That the judges can see a pass by SPF, and one by a signature.
	w.addControl("Boss <boss@example.org>", "boss@example.org", "127.0.0.1", "")
	w.addControl("Alice <alice@reject.example>", "alice@reject.example", "192.0.2.1",
		"reject.example rsa relaxed")
	w.sendAll()
	w.judgeForgeries()
}
