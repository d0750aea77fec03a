package spf

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// TestANetworkCouldPassIfAnyOfItsAddressesDoes compares with check_host() for every address by itself, on
// records of random networks and qualifiers, the terms in any order.
func TestANetworkCouldPassIfAnyOfItsAddressesDoes(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 7))
	passed := 0
	for n := range 2000 {
		z := zone{}
		record := func(more string) string {
			terms := strings.Fields(more)
			for range random.IntN(4) {
				qualifier := "+-~?"[random.IntN(4)]
				terms = append(terms,
					fmt.Sprintf("%cip4:192.0.2.%d/%d", qualifier, random.IntN(64), 27+random.IntN(6)))
			}
			random.Shuffle(len(terms), func(i, j int) { terms[i], terms[j] = terms[j], terms[i] })
			return "v=spf1 " + strings.Join(terms, " ")
		}
		more := []string{"", "include:included.example", "-a:host.example",
			"a:host.example/30"}[random.IntN(4)]
		z["domain.example"] = [][]string{{"TXT", record(more) + " -all"}}
		z["included.example"] = [][]string{{"TXT", record("")}}
		z["host.example"] = [][]string{{"A", fmt.Sprintf("192.0.2.%d", random.IntN(64))}}
		network := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(64))}),
			26+random.IntN(7)).Masked()
		q, could, want := Query{Domain: "domain.example"},
			CouldPass(t.Context(), z, Query{Domain: "domain.example"}, network), false
		for q.IP = network.Addr(); network.Contains(q.IP); q.IP = q.IP.Next() {
			want = want || Check(t.Context(), z, q).Status == Pass
		}
		if want && could.Status != Pass {
			t.Fatalf("record %d: %s of %v: %v, and an address passes", n, network, z, could)
		}
		if could.Status == Pass {
			passed++
		}
	}
	if passed < 200 || passed > 1800 {
		t.Fatalf("%d of 2000 pass: the records are too much alike", passed)
	}
}

func TestWhatCouldPass(t *testing.T) {
	many := "v=spf1"
	for n := range 12 {
		many += fmt.Sprintf(" include:i%d.example", n)
	}
	text := "many.example TXT " + many + " ip4:192.0.2.80 -all\n"
	for n := range 12 {
		text += fmt.Sprintf("i%d.example TXT v=spf1 -all\n", n)
	}
	text += "loop.example TXT v=spf1 include:loop.example\n"
	text += "void.example TXT v=spf1 a:gone1.example a:gone2.example a:gone3.example ip4:192.0.2.80 -all\n"
	text += "slow.example TXT v=spf1 a:dead.example -all\ndead.example SERVFAIL\nsilent.example SERVFAIL\n"
	text += "slowbutsure.example TXT v=spf1 ip4:192.0.2.80 a:dead.example -all\n"
	text += "macro.example TXT v=spf1 exists:%{i}.list.example -all\n"
	for name, macros := range map[string]string{ // Mail::SPF, libspf2 or mailauth expand them in another way
		"capital": "%{L}", "delimiter": "%{l-}", "percent": "%{l}%%", "blank": "%{l}%_", "escaped": "%{l}%-",
		"many": "%{d127}", "version": "%{v1}",
	} {
		text += name + ".macro.example TXT v=spf1 exists:" + macros + ".list.example -all\n"
	}
	text += "plain.macro.example TXT v=spf1 exists:%{ir}.%{v}._%{l}.%{h}.%{o}.%{d}.%{d2}.list.example -all\n"
	// rspamd: any address of the other family.
	text += "host.example A 192.0.2.25\nmail.example MX 10 host.example.\n"
	for name, term := range map[string]string{
		"four": "a:host.example/24", "sixth": "a:host.example//64", "both": "a:host.example/32//128",
		"mx": "mx:mail.example/24", "minus": "-a:host.example/24", "invalid": "a:host.example/33",
		"long": "mx:mail.example//129",
	} {
		text += name + ".length.example TXT v=spf1 " + term + " -all\n"
	}
	text += "dot.example TXT v=spf1 a:.eighty.example -all\neighty.example A 192.0.2.80\n"
	text += "six.example TXT v=spf1 ip6:2001:db8:1::25 -all\n"
	z := parseZone(t, text)
	for _, c := range []struct {
		domain, network string
		want            Status
	}{
		{"many.example", "192.0.2.80/32", Pass}, // more than ten look-ups: not all receivers count
		{"many.example", "192.0.2.81/32", Fail},
		{"void.example", "192.0.2.80/32", Pass},
		{"loop.example", "192.0.2.80/32", Fail},
		{"slow.example", "192.0.2.80/32", TempError},
		{"silent.example", "192.0.2.80/32", TempError},
		{"slowbutsure.example", "192.0.2.80/32", Pass},
		{"slowbutsure.example", "192.0.2.81/32", TempError},
		{"macro.example", "192.0.2.80/32", Fail},
		{"macro.example", "192.0.2.80/31", Pass}, // of a whole network nobody can tell
		{"four.length.example", "2001:db8::1/128", Pass},
		{"four.length.example", "198.51.100.1/32", Fail},
		{"sixth.length.example", "198.51.100.1/32", Pass},
		{"sixth.length.example", "2001:db8::1/128", Fail},
		{"both.length.example", "198.51.100.1/32", Fail},
		{"both.length.example", "2001:db8::1/128", Fail},
		{"mx.length.example", "2001:db8::1/128", Pass},
		{"minus.length.example", "2001:db8::1/128", Fail},
		{"invalid.length.example", "198.51.100.1/32", Pass},
		{"long.length.example", "198.51.100.1/32", Pass},
		{"dot.example", "192.0.2.80/32", Pass},
		{"plain.macro.example", "192.0.2.80/32", Fail},
		{"capital.macro.example", "192.0.2.80/32", Pass},
		{"delimiter.macro.example", "192.0.2.80/32", Pass},
		{"percent.macro.example", "192.0.2.80/32", Pass},
		{"blank.macro.example", "192.0.2.80/32", Pass},
		{"escaped.macro.example", "192.0.2.80/32", Pass},
		{"many.macro.example", "192.0.2.80/32", Pass},
		{"version.macro.example", "192.0.2.80/32", Pass},
		{"six.example", "2001:db8:1::/48", Pass},
		{"six.example", "2001:db8:2::/48", Fail},
		{"none.example", "192.0.2.0/24", Fail},
	} {
		got := CouldPass(t.Context(), z, Query{Domain: c.domain}, netip.MustParsePrefix(c.network))
		if got.Status != c.want {
			t.Errorf("%s for %s: %v, want %s", c.domain, c.network, got, c.want)
		}
	}
}

// TestABrokenRecordCouldPassWhomItNames: each zone of a domain @ names HOST in a way that some receiver
// could take for a pass. The same zone says no to an address that it does not name.
func TestABrokenRecordCouldPassWhomItNames(t *testing.T) {
	for _, text := range []string{
		"@ TXT v=spf1 ip4:HOST foo:bar -all",
		"@ TXT v=spf1 ip4:HOST -all\n@ TXT v=spf1 ip4:192.0.2.1 -all",
		"@ TXT v=spf1 redirect=_r.@\n_r.@ TXT v=spf1 ip4:HOST -all\n_r.@ TXT v=spf1 ip4:192.0.2.1 -all",
		"@ TXT v=spf1 include:gone.@ ip4:HOST -all",
		"@ TXT v=spf1 include:_i.@ -all\n_i.@ TXT v=spf1 ip4:HOST foo:bar -all",
		"@ TXT v=spf1 ip4:HOST include: -all",
		"@ TXT v=spf1 ip4:HOST redirect=a.test redirect=b.test",
		"@ TXT v=spf1 redirect=gone.@ redirect=_r.@\n_r.@ TXT v=spf1 ip4:HOST -all",
		"@ TXT v=spf1 ip4:HOST exp=a exp=b -all",
		"@ TXT v=spf1 -all ip4:HOST",
		"@ TXT v=spf1 ?all ip4:HOST",
		"@ TXT v=spf1 -all redirect=_r.@\n_r.@ TXT v=spf1 ip4:HOST -all",
		"@ TXT v=spf1 -include:_i.@ ~all\n_i.@ TXT v=spf1 ip4:HOST -all",
		"@ TXT v=spf1 -ip4:HOST ip4:HOST -all",
		"@ TXT v=spf1 ip6:::ffff:HOST -all",
		"@ TXT v=spf1 ip4:::ffff:HOST -all",
		"@ TXT v=spf1 ip4:HOST/ -all",
		"@ TXT v=spf1 ip4:HOST/33 -all",
		"@ TXT v=spf1 ip4:HOST/032 -all",
		"@ TXT v=spf1 ip4:HOST/024abc -all",
		"@ TXT v=spf1 a:mail.@/024 -all\nmail.@ A HOST",
		"@ TXT v=spf1 ip4:HOST; -all;",
		"@ TXT v=spf1 ip4:HOST\\; -all",
		"@ TXT v=spf1 ip4:192.0.2.1,HOST -all",
		"@ TXT v=spf1 ip4: HOST -all",
		"@ TXT v=spf1 ip4=HOST -all",
		"@ TXT v=spf1 ip4:HOST-all",
		"@ TXT v=spf1 ipv4:HOST -all",
		"@ TXT v=spf1 IP:HOST",
		"@ TXT v=spf1 a:HOST -all",
		"@ TXT v=spf1 ip4:mail.@ -all\nmail.@ A HOST",
		"@ TXT v=spf1 a:mail.@, -all\nmail.@ A HOST",
		"@ TXT v=spf1 mx/32x -all\n@ MX 10 mail.@\nmail.@ A HOST",
		"@ TXT v=spf1 a;\n@ A HOST",
		"@ TXT v=spf1 include=_i.@ -all\n_i.@ TXT v=spf1 ip4:HOST -all",
		"@ TXT v=spf1 -include:_i.@; -all\n_i.@ TXT v=spf1 ip4:HOST -all",
		"@ TXT v=spf1 redirect:_r.@\n_r.@ TXT v=spf1 ip4:HOST -all",
		"@ TXT v=spf1 include:_i.@ -all\n_i.@ TXT v=spf1 include:_j.%{d} -all\n_j.@ TXT v=spf1 ip4:HOST",
		"@ TXT v=spf1 a:sub.%{d1}.%{o} -all\nsub.domain.example.domain.example A HOST",
		"@ TXT v=spf1 include:%{o} ip4:HOST -all",
		"@ TXT spf2.0/pra ip4:HOST -all",
		"@ TXT spf2.0/mfrom,pra include:_i.@\n_i.@ TXT v=spf1 ip4:HOST",
		"@ TXT v=spf1ip4:HOST -all",
		"@ TXT v=spf10 ip4:HOST -all",
		"@ TXT v=spf1, ip4:HOST -all",
		"@ TXT  V=SPF1  IP4:HOST  -ALL",
		"@ TXT \"v=spf1 ip4:HOST -all\"",
		"@ TXT v=spf1\tip4:HOST\t-all",
		"@ TXT v=spf1 ip4:HOST \u2013all",
	} {
		for host, want := range map[string]Status{"192.0.2.80": Pass, "198.51.100.9": Fail} {
			z := parseZone(t, strings.NewReplacer("@", "domain.example", "HOST", host).Replace(text))
			q := Query{Domain: "domain.example", HELO: "mx.example.org"}
			got := CouldPass(t.Context(), z, q, netip.MustParsePrefix("192.0.2.80/32"))
			if got.Status != want {
				t.Errorf("%q with %s: %v, want %s", text, host, got, want)
			}
		}
	}
}

// TestWhatNobodyCanReadCouldPass: some receiver may take it for a term that matches.
func TestWhatNobodyCanReadCouldPass(t *testing.T) {
	for text, want := range map[string]Status{
		"@ TXT v=spf1 ip4:192.0.2.1/024 -all":                                                    Pass,
		"@ TXT v=spf1 ip4:192.0.2.1/32x -all":                                                    Fail,
		"@ TXT v=spf1 a/024 -all\n@ A 192.0.2.1":                                                 Pass,
		"@ TXT v=spf1 mx:m.example/+24 -all\nm.example MX 10 a.example\na.example A 192.0.2.1":   Fail,
		"@ TXT v=spf1 ip4:192.0.2.080 -all":                                                      Pass,
		"@ TXT v=spf1 ip4:0xc0.0.2.80 -all":                                                      Pass,
		"@ TXT v=spf1 ip4:192.0.2 -all":                                                          Pass,
		"@ TXT v=spf1 a:%{x}.example -all":                                                       Pass,
		"@ TXT v=spf1 exists:%{p}.example -all":                                                  Pass,
		"@ TXT v=spf1 +all;":                                                                     Pass,
		"@ TXT v=spf1 include:i.example -all\ni.example TXT v=spf1 +all":                         Pass,
		"@ TXT v=spf1 -a:%{x}.example -all; ~all, -ip4:192.0.2.80;":                              Fail,
		"@ TXT v=spf1 ~a:mail.example ?mx -all\nmail.example A 192.0.2.80\n@ MX 10 mail.example": Fail,
		"@ TXT v=spf1 foo bar=baz 1 - + : = / %":                                                 Pass,
		"@ TXT v=spf1 foo bar=baz 1 - + : = / .. a..b":                                           Fail,
		"@ TXT verify=spf192.0.2.80":                                                             Fail,
		// nothing says that it is about SPF
		"@ TXT ip4:192.0.2.80 is ours":                                                  Fail,
		"@ TXT v=spf1 a:dead.example foo -all\ndead.example SERVFAIL":                   TempError,
		"@ TXT v=spf1 foo:dead.example -all\ndead.example SERVFAIL":                     TempError,
		"@ TXT v=spf1 ptr:example.net -all\n80.2.0.192.in-addr.arpa SERVFAIL":           TempError,
		"@ TXT v=spf1 ptr:example.net -all\n80.2.0.192.in-addr.arpa PTR a.example.net.": Pass,
		"@ TXT v=spf1 ptr:example.net -all\n80.2.0.192.in-addr.arpa PTR a.example.com.": Fail,
	} {
		z := parseZone(t, strings.ReplaceAll(text, "@", "domain.example"))
		got := CouldPass(t.Context(), z, Query{Domain: "domain.example"},
			netip.MustParsePrefix("192.0.2.80/32"))
		if got.Status != want {
			t.Errorf("%q: %v, want %s", text, got, want)
		}
	}
}

// TestAHostInTheSame64CouldPass: rspamd compares 64 bits of an IPv6 address where a and mx have no length.
func TestAHostInTheSame64CouldPass(t *testing.T) {
	z := parseZone(t, "domain.example TXT v=spf1 a -all\ndomain.example AAAA 2001:db8:1:1::1")
	for network, want := range map[string]Status{"2001:db8:1:1::25/128": Pass, "2001:db8:1:2::25/128": Fail} {
		got := CouldPass(t.Context(), z, Query{Domain: "domain.example"}, netip.MustParsePrefix(network))
		if got.Status != want {
			t.Errorf("%s: %v, want %s", network, got, want)
		}
	}
}

func TestHostileRecordsCostNoMoreThanTheirLength(t *testing.T) {
	for _, piece := range []string{"=", ":", "a", "a=", "1.", "0x", "::", "a.b:", "ip4:1.2.3.4/", "%{",
		"include:a.b,", " a.b:", " include:x.y", "-~"} {
		z := zone{"domain.example": [][]string{{"TXT", "v=spf1 " + strings.Repeat(piece, 65000/len(piece))}}}
		CouldPass(t.Context(), z, Query{Domain: "domain.example"}, netip.MustParsePrefix("192.0.2.80/32"))
	}
}
