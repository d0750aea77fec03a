package spf

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// TestANetworkCouldPassIfAnyOfItsAddressesDoes compares with every address by itself, on records of random networks and qualifiers.
func TestANetworkCouldPassIfAnyOfItsAddressesDoes(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 7))
	passed := 0
	for n := range 2000 {
		z := zone{}
		record := func() string {
			text := "v=spf1"
			for range random.IntN(5) {
				text += fmt.Sprintf(" %cip4:192.0.2.%d/%d", "+-~?"[random.IntN(4)], random.IntN(64), 24+random.IntN(9))
			}
			return text
		}
		z["included.example"] = [][]string{{"TXT", record()}}
		z["host.example"] = [][]string{{"A", fmt.Sprintf("192.0.2.%d", random.IntN(64))}}
		z["domain.example"] = [][]string{{"TXT", record() + []string{"", " include:included.example", " -a:host.example", " a:host.example/30"}[random.IntN(4)] + " -all"}}
		network := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(64))}), 26+random.IntN(7)).Masked()
		q, want := Query{Domain: "domain.example"}, false
		for ip := network.Addr(); network.Contains(ip); ip = ip.Next() {
			q.IP = ip
			want = want || Check(t.Context(), z, q).Status == Pass
		}
		if got := CouldPass(t.Context(), z, q, network); (got.Status == Pass) != want {
			t.Fatalf("record %d: %s of %v: %v, want a pass: %v", n, network, z, got, want)
		}
		if want {
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
	text += "six.example TXT v=spf1 ip6:2001:db8:1::25 -all\n"
	z := parseZone(t, text)
	for _, c := range []struct {
		domain, network string
		want            Status
	}{
		{"many.example", "192.0.2.80/32", Pass}, // more than ten look-ups: not all receivers count
		{"many.example", "192.0.2.81/32", Fail},
		{"void.example", "192.0.2.80/32", Pass},
		{"loop.example", "192.0.2.80/32", PermError},
		{"slow.example", "192.0.2.80/32", TempError},
		{"silent.example", "192.0.2.80/32", TempError},
		{"slowbutsure.example", "192.0.2.80/32", Pass},
		{"slowbutsure.example", "192.0.2.81/32", TempError},
		{"macro.example", "192.0.2.80/32", Fail},
		{"macro.example", "192.0.2.80/31", Pass}, // of a whole network nobody can tell
		{"six.example", "2001:db8:1::/48", Pass},
		{"six.example", "2001:db8:2::/48", Fail},
		{"none.example", "192.0.2.0/24", None},
	} {
		if got := CouldPass(t.Context(), z, Query{Domain: c.domain}, netip.MustParsePrefix(c.network)); got.Status != c.want {
			t.Errorf("%s for %s: %v, want %s", c.domain, c.network, got, c.want)
		}
	}
}
