package authn

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const spfZone = `example.org TXT v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all
soft.example.org TXT v=spf1 ~all
neutral.example.org TXT v=spf1 ?all
two.example.org TXT v=spf1 -all
two.example.org TXT v=spf1 +all
broken.example.org TXT v=spf1 nonsense
include.example.org TXT v=spf1 include:example.org -all
tempinc.example.org TXT v=spf1 include:fail.example.org -all
fail.example.org SERVFAIL
norecord.example.org A 192.0.2.1
mail.example.org TXT v=spf1 a -all
mail.example.org A 192.0.2.7
loop.example.org TXT v=spf1 include:loop.example.org -all
void.example.org TXT v=spf1 a:v1.example.org a:v2.example.org a:v3.example.org +all
local.example.org TXT v=spf1 exists:%{l}.users.example.org -all
alice.users.example.org A 127.0.0.2
postmaster.users.example.org A 127.0.0.2
alice+lists.users.example.org A 127.0.0.2
btv1==0123456789==alice.users.example.org A 127.0.0.2
al!c#e'/x.users.example.org A 127.0.0.2
xn--bcher-kva.example TXT v=spf1 +all
`

func TestSPF(t *testing.T) {
	s := serve(t, spfZone)
	for _, c := range []struct {
		client, helo, sender string
		want                 Status
		identity, domain     string
		why                  string
	}{
		{"192.0.2.1", "mail.example.org", "alice@example.org", Pass, "mailfrom", "example.org", ""},
		{"::ffff:192.0.2.1", "", "alice@Example.ORG", Pass, "mailfrom", "example.org",
			"an IPv4 address is one, however it is written"},
		{"2001:db8::1", "", "alice@example.org", Pass, "mailfrom", "example.org", ""},
		{"198.51.100.1", "", "alice@example.org", Fail, "mailfrom", "example.org", ""},
		{"198.51.100.1", "", "alice@soft.example.org", SoftFail, "mailfrom", "soft.example.org", ""},
		{"198.51.100.1", "", "alice@neutral.example.org", Neutral, "mailfrom", "neutral.example.org", ""},
		{"198.51.100.1", "", "alice@norecord.example.org", None, "mailfrom", "norecord.example.org", "4.5"},
		{"198.51.100.1", "", "alice@gone.example.org", None, "mailfrom", "gone.example.org", "4.3"},
		{"198.51.100.1", "", "alice@two.example.org", PermError, "mailfrom", "two.example.org", "4.5"},
		{"198.51.100.1", "", "alice@broken.example.org", PermError, "mailfrom", "broken.example.org", "4.6"},
		{"198.51.100.1", "", "alice@loop.example.org", PermError, "mailfrom", "loop.example.org",
			"4.6.4: ten look-ups"},
		{"198.51.100.1", "", "alice@void.example.org", PermError, "mailfrom", "void.example.org",
			"4.6.4: two void look-ups"},
		{"192.0.2.1", "", "alice@include.example.org", Pass, "mailfrom", "include.example.org", ""},
		{"192.0.2.1", "", "alice@fail.example.org", TempError, "mailfrom", "fail.example.org", "4.4"},
		{"192.0.2.1", "", "alice@tempinc.example.org", TempError, "mailfrom", "tempinc.example.org", "5.2"},
		{"192.0.2.1", "", "alice@local.example.org", Pass, "mailfrom", "local.example.org", "7.2"},
		{"192.0.2.1", "", "alice+lists@local.example.org", Pass, "mailfrom", "local.example.org",
			"7.3: whatever is in the local part"},
		{"192.0.2.1", "", "btv1==0123456789==alice@local.example.org", Pass, "mailfrom",
			"local.example.org", "7.3"},
		{"192.0.2.1", "", "al!c#e'/x@local.example.org", Pass, "mailfrom", "local.example.org", "7.3"},
		{"192.0.2.1", "", "mallory+lists@local.example.org", Fail, "mailfrom", "local.example.org", "7.3"},
		{"192.0.2.1", "", "mallory@local.example.org", Fail, "mailfrom", "local.example.org", "7.2"},
		{"192.0.2.1", "", "@local.example.org", Pass, "mailfrom", "local.example.org",
			"4.3: postmaster if there is no local part"},
		{"192.0.2.1", "", `"a@b"@example.org`, Pass, "mailfrom", "example.org", "the last @ counts"},
		{"192.0.2.1", "", "alice@Bücher.example", Pass, "mailfrom", "xn--bcher-kva.example", "4.3: A-labels"},
		{"192.0.2.7", "mail.example.org", "", Pass, "helo", "mail.example.org", "2.4: the null sender"},
		{"192.0.2.7", "mail.example.org", "<>", Pass, "helo", "mail.example.org", "2.4"},
		{"198.51.100.1", "mail.example.org", "", Fail, "helo", "mail.example.org", "2.4"},
		{"192.0.2.7", "[192.0.2.7]", "", None, "helo", "", "4.3: no domain"},
		{"192.0.2.7", "localhost", "", None, "helo", "", "4.3: a single label"},
		{"192.0.2.7", "", "", None, "helo", "", ""},
		{"192.0.2.7", "", "alice", None, "mailfrom", "", ""},
		{"192.0.2.7", "", "alice@exa\r\nmple.org", None, "mailfrom", "", ""},
		{"", "mail.example.org", "alice@example.org", None, "mailfrom", "example.org", "client unknown"},
	} {
		client, _ := netip.ParseAddr(c.client)
		got := checkSPF(t.Context(), New(s.Addr()), Request{ClientIP: client, HELO: c.helo, Sender: c.sender})
		if got.Status != c.want || got.Identity != c.identity || got.Domain != c.domain {
			t.Errorf("%s %q %q (%s): %+v", c.client, c.helo, c.sender, c.why, got)
		}
		if strings.Contains(got.Reason, "127.0.0.1") ||
			strings.ContainsFunc(got.Reason, func(r rune) bool { return r < ' ' || r > '~' }) ||
			len(got.Reason) > 100 {
			t.Errorf("reason %q", got.Reason)
		}
	}
}

// What a client says ends up in names that are asked for, by macros.
func TestSPFOfHostileClients(t *testing.T) {
	s := serve(t, "helo.example.org TXT v=spf1 exists:%{h}.x.example.org a:%{H} exists:%{L}.x.example.org "+
		"-all\nmail.x.example.org A 127.0.0.2")
	for _, text := range []string{"", " ", "mail\r\nx", "\x00", "b\u00fccher", strings.Repeat("a", 100000),
		strings.Repeat("a.", 50000), "..", "[192.0.2.1]", "%{h}"} {
		got := checkSPF(t.Context(), New(s.Addr()),
			Request{ClientIP: netip.MustParseAddr("192.0.2.1"), HELO: text,
				Sender: text + "@helo.example.org"})
		if got.Status != PermError { // three look-ups that find nothing, or macros that are too long
			t.Errorf("%.20q: %+v", text, got)
		}
	}
	got := checkSPF(t.Context(), New(s.Addr()),
		Request{ClientIP: netip.MustParseAddr("192.0.2.1"), HELO: "mail", Sender: "alice@helo.example.org"})
	if got.Status != Pass || got.Reason != "matched exists" {
		t.Errorf("%+v", got)
	}
}

func TestOneFamilyOfAddressesIsAsked(t *testing.T) {
	s := serve(t, `example.org A 192.0.2.1
example.org AAAA 2001:db8::1
four.example.org A 192.0.2.1
mapped.example.org AAAA ::ffff:192.0.2.1
broken.example.org SERVFAIL
`)
	r := New(s.Addr())
	for _, c := range []struct{ network, name, want string }{
		{"ip4", "example.org", "192.0.2.1"},
		{"ip6", "Example.org.", "2001:db8::1"},
		{"ip6", "four.example.org", "none"},
		{"ip4", "gone.example.org", "none"},
		{"ip6", "mapped.example.org", "none"},
		{"ip4", "broken.example.org", "temporary"},
		{"ip4", "example.org", "192.0.2.1"},
	} {
		addresses, err := r.LookupNetIP(t.Context(), c.network, c.name)
		var failure *net.DNSError
		got := ""
		switch {
		case err == nil && len(addresses) == 1:
			got = addresses[0].Unmap().String()
		case isNotFound(err):
			got = "none"
		case errors.As(err, &failure) && failure.Temporary():
			got = "temporary"
		}
		if got != c.want {
			t.Errorf("%s of %s: %v, %v", c.network, c.name, addresses, err)
		}
	}
	queries := slices.Compact(slices.Sorted(slices.Values(s.Queries())))
	if want := []string{"broken.example.org. A", "example.org. A", "example.org. AAAA",
		"four.example.org. AAAA", "gone.example.org. A", "mapped.example.org. AAAA"}; !slices.Equal(queries,
		want) || r.count != 6 {
		t.Errorf("%q, count %d", queries, r.count)
	}
}

func TestSPFWithoutTimeIsTemporary(t *testing.T) {
	s := serve(t, spfZone)
	ctx, end := context.WithCancel(t.Context())
	end()
	req := Request{ClientIP: netip.MustParseAddr("192.0.2.1"), Sender: "alice@example.org"}
	if got := checkSPF(ctx, New(s.Addr()), req); got.Status != TempError {
		t.Errorf("%+v", got)
	}
}

func TestTooManyLookupsAreNoTemporaryError(t *testing.T) {
	s := serve(t, "a.example.org TXT v=spf1 a:x.example.org -all\n"+
		"mx.example.org TXT v=spf1 mx:x.example.org -all\nptr.example.org TXT v=spf1 ptr -all\n"+
		"exists.example.org TXT v=spf1 exists:x.example.org -all\ninclude.example.org TXT v=spf1 "+
		"include:x.example.org -all\n")
	for _, name := range []string{"a", "mx", "ptr", "exists", "include"} {
		r := New(s.Addr())
		r.count = maxLookups - 1
		got := checkSPF(t.Context(), r,
			Request{ClientIP: netip.MustParseAddr("192.0.2.1"), Sender: "alice@" + name + ".example.org"})
		if got.Status != PermError || got.Reason != "too many look-ups" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
