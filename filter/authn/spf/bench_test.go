package spf

import (
	"context"
	"net"
	"net/netip"
	"testing"
)

// memory remembers answers, so that a benchmark measures nothing of the zone.
type memory struct {
	zone
	texts     map[string][]string
	exchanges map[string][]*net.MX
	addresses map[string][]netip.Addr
}

func (m memory) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if texts, ok := m.texts[name]; ok {
		return texts, nil
	}
	texts, err := m.zone.LookupTXT(ctx, name)
	m.texts[name] = texts
	return texts, err
}

func (m memory) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	if exchanges, ok := m.exchanges[name]; ok {
		return exchanges, nil
	}
	exchanges, err := m.zone.LookupMX(ctx, name)
	m.exchanges[name] = exchanges
	return exchanges, err
}

func (m memory) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if addresses, ok := m.addresses[network+host]; ok {
		return addresses, nil
	}
	addresses, err := m.zone.LookupNetIP(ctx, network, host)
	m.addresses[network+host] = addresses
	return addresses, err
}

// A typical evaluation: the record names its MX and a host, and includes the records of two large services
// and of one with macros, where the client is found.
func BenchmarkCheck(b *testing.B) {
	m := memory{corpus(b).Zone, map[string][]string{}, map[string][]*net.MX{}, map[string][]netip.Addr{}}
	q := identify("192.0.2.1", "mail.helo.test", "alice@customer.test")
	l := listener{Resolver: m}
	if got := Check(b.Context(), &l, q); got != (Result{Status: Pass, Reason: "matched include"}) {
		b.Fatal(got)
	}
	b.ReportAllocs()
	for b.Loop() {
		Check(b.Context(), m, q)
	}
	b.ReportMetric(float64(len(l.asked)), "look-ups")
}
