package spf

import (
	"context"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// whim answers as it likes, and the same question always the same way.
type whim struct {
	t       *testing.T
	seed    uint64
	records [2]string
	client  netip.Addr

	asked  int
	failed bool // some question
}

// decide gives a number for a question, or the error that is to be its answer.
func (w *whim) decide(kind, name string) (uint64, error) {
	if w.asked++; w.asked > 111 {
		w.t.Errorf("look-up %d", w.asked)
	}
	if kind != "PTR" && (!isName(name) || strings.HasSuffix(name, ".")) {
		w.t.Errorf("%s of %q is asked", kind, name)
	}
	hash := fnv.New64a()
	fmt.Fprint(hash, w.seed, kind, strings.ToLower(name))
	n := hash.Sum64()
	switch n % 16 {
	case 0, 1, 2:
		return 0, fmt.Errorf("wrapped: %w", &net.DNSError{Err: "no such host", IsNotFound: true})
	case 3:
		w.failed = true
		return 0, &net.DNSError{Err: "server misbehaving", Server: "192.0.2.53"}
	case 4:
		if n>>4%8 == 0 {
			return 0, &net.DNSError{Err: errRefused.Error(), UnwrapErr: errRefused}
		}
	}
	return n >> 8, nil
}

func (w *whim) LookupTXT(_ context.Context, name string) ([]string, error) {
	n, err := w.decide("TXT", name)
	switch {
	case err != nil:
		return nil, err
	case n%16 == 0:
		return []string{w.records[0], w.records[1]}, nil
	}
	return []string{"v=spf10", w.records[n>>4%2], ""}, nil
}

func (w *whim) LookupMX(_ context.Context, name string) (list []*net.MX, err error) {
	n, err := w.decide("MX", name)
	for i := range n % 13 {
		list = append(list, &net.MX{
			Host: []string{".", "mx.example.", "a..b.", fmt.Sprintf("mx%d.example.", i)}[n>>(4+i)%4]})
	}
	return list, err
}

func (w *whim) LookupNetIP(_ context.Context, network, host string) (list []netip.Addr, err error) {
	if network != "ip4" && network != "ip6" {
		w.t.Errorf("network %q", network)
	}
	n, err := w.decide(network, host)
	for i := range n % 4 {
		list = append(list, []netip.Addr{w.client, w.client.Next(), netip.MustParseAddr("192.0.2.1"),
			netip.MustParseAddr("2001:db8::1"), {}}[n>>(4+4*i)%5])
	}
	return list, err
}

func (w *whim) LookupAddr(_ context.Context, addr string) (list []string, err error) {
	n, err := w.decide("PTR", addr)
	for i := range n % 13 {
		list = append(list, []string{".", "a.example.org.", "mx.example.",
			fmt.Sprintf("mx%d.example.", i)}[n>>(4+i)%4])
	}
	return list, err
}

// isBroken tells whether a text is no record that could be evaluated.
func isBroken(text string) bool {
	text, count := pick([]string{text})
	if count == 0 {
		return true
	}
	_, err := parseRecord(text)
	return err != nil
}

func addSeeds(f *testing.F) {
	n := uint64(0)
	for _, name := range []string{"rfc7208.json", "blitiri.json"} {
		for _, s := range readSuite(f, name) {
			for _, records := range s.Zone {
				for _, record := range records {
					if record[0] == "TXT" {
						f.Add(record[1], "v=spf1 include:%{d2} ptr a:%{h} mx redirect=%{o}", "mail.helo.test",
							"a-b", []byte{192, 0, 2, byte(n)}, n)
						n++
					}
				}
			}
		}
	}
	f.Add("v=spf1 exists:%{pr-}.%{L3r+}.org mx ?all", "v=spf1 -all", "x y", "é",
		netip.MustParseAddr("2001:db8::1").AsSlice(), uint64(7))
}

// FuzzCheck evaluates records under every sort of answer, and checks what holds of any evaluation.
func FuzzCheck(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, record, other, helo, local string, ip []byte, seed uint64) {
		client, _ := netip.AddrFromSlice(ip)
		q := Query{IP: client, HELO: helo, Local: local, Domain: "example.org", Refused: errRefused}
		check := func(q Query) (Result, whim) {
			w := whim{t: t, seed: seed, records: [2]string{record, other}, client: client}
			return Check(t.Context(), &w, q), w
		}
		got, w := check(q)
		switch got.Status {
		case None, PermError:
		case TempError:
			if !w.failed {
				t.Error("temperror, but DNS answered")
			}
		case Neutral, Pass, Fail, SoftFail:
			if isBroken(record) && isBroken(other) {
				t.Errorf("%+v of a broken record", got)
			}
		default:
			t.Errorf("%+v", got)
		}
		if got.Reason == "" || len(got.Reason) > 80 || strings.Contains(got.Reason, "192.0.2.53") {
			t.Errorf("%+v", got)
		}
		if again, _ := check(q); again != got {
			t.Errorf("%+v, and again %+v", got, again)
		}
		if client.Is4() {
			q.IP = netip.AddrFrom16(client.As16())
			if mapped, _ := check(q); mapped != got {
				t.Errorf("%+v, and mapped %+v", got, mapped)
			}
		}
	})
}
