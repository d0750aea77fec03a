package spf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// expand is what a domain-spec becomes for strong-bad@email.example.com, the sender of RFC 7208 section 7.4.
func expand(t testing.TB, z zone, ip, helo, spec string) string {
	t.Helper()
	if err := checkDomainSpec(spec); err != nil {
		return err.Error()
	}
	q := Query{IP: netip.MustParseAddr(ip), HELO: helo, Local: "strong-bad", Domain: "email.example.com"}
	e := evaluation{Query: q, ctx: t.Context(), resolver: z,
		network: map[bool]string{true: "ip4", false: "ip6"}[q.IP.Is4()]}
	name, err := e.expand(spec, "email.example.com")
	if err != nil {
		return err.Error()
	}
	return name
}

func TestTheExamplesOfSection7Expand(t *testing.T) {
	const v4, v6 = "192.0.2.3", "2001:db8::cb01"
	for _, c := range []struct{ ip, spec, want string }{
		{v4, "%{s}", "strong-bad@email.example.com"},
		{v4, "%{o}", "email.example.com"},
		{v4, "%{d}", "email.example.com"},
		{v4, "%{d4}", "email.example.com"},
		{v4, "%{d3}", "email.example.com"},
		{v4, "%{d2}", "example.com"},
		{v4, "%{d1}", "com"},
		{v4, "%{dr}", "com.example.email"},
		{v4, "%{d2r}", "example.email"},
		{v4, "%{l}", "strong-bad"},
		{v4, "%{l-}", "strong.bad"},
		{v4, "%{lr}", "strong-bad"},
		{v4, "%{lr-}", "bad.strong"},
		{v4, "%{l1r-}", "strong"},
		{v4, "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"},
		{v4, "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"},
		{v4, "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"},
		{v4, "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"},
		{v4, "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"},
		{v6, "%{ir}.%{v}._spf.%{d2}",
			"1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"},
	} {
		if got := expand(t, nil, c.ip, "", c.spec); got != c.want {
			t.Errorf("%s: %q, want %q", c.spec, got, c.want)
		}
	}
}

func TestMacrosExpand(t *testing.T) {
	long := strings.Repeat(strings.Repeat("x", 49)+".", 6) // 300 octets
	for _, c := range []struct{ helo, spec, want, why string }{
		{"Mail.Example", "%{h}", "Mail.Example", ""},
		{"a b@c/~_", "%{H}", "a%20b%40c%2F~_", "7.3: escaped but what is unreserved"},
		{"a-b+c,d/e_f=g", "%{h.-+,/_=}", "a.b.c.d.e.f.g", "7.1: every delimiter"},
		{"a-b+c,d/e_f=g", "%{h2R=_}", "f.a-b+c,d/e",
			"7.3: reversed, then cut; R is r, for ABNF knows no case"},
		{"a-b.c", "%{h1-}", "b.c", "the dot is no delimiter if others are given"},
		{"a..b", "%{hr}.x.example", "b..a.x.example", "7.3: parts may be empty"},
		{".a", "%{h1r}", "", "the same"},
		{"", "%{h}x.example", "x.example", "no HELO name"},
		{"a.b", "%{h128}", "a.b", "7.3: as many as there are"},
		{"a.b", "%{h99999999999999999999}", "a.b", "the same"},
		{"", "a%%b%_c%-d.x.example", "a%b c%20d.x.example", ""},
		{"", "%{d}%-", "email.example.com%20", "7.1: each of them may end a domain-spec"},
		{"x", "%{h}.", "a domain does not end in a top-level domain", "7.1"},
		{"x.example.", "a.%{h}", "a.x.example", "7.3: a final dot goes"},
		{long + "end", "%{h}", long[50:] + "end", "7.3: labels go from the left"},
		{"a" + long[:248] + "abcde", "%{h}", long[50:248] + "abcde", "254 octets are one too many"},
		{strings.Repeat("x", 300), "%{h}", "", "there are no labels to go"},
	} {
		if got := expand(t, nil, "192.0.2.3", c.helo, c.spec); got != c.want {
			t.Errorf("%s of %q: %q, want %q (%s)", c.spec, c.helo, got, c.want, c.why)
		}
	}
	for _, spec := range []string{"%{}", "%{", "%", "%{d", "%{0}", "%{d0}", "%{d00r}", "%{drr}", "%{r2}",
		"%{d!}", "%{d r}", "%{c}", "%{t}", "%{R}", "%d", "a.%{x}.org"} {
		if err := checkDomainSpec(spec); err == nil {
			t.Errorf("%s is taken", spec)
		}
	}
}

func TestTheNameOfTheClientThatFitsBestIsTaken(t *testing.T) {
	text := "3.2.0.192.in-addr.arpa PTR other.example.\n" +
		"3.2.0.192.in-addr.arpa PTR mail.email.example.com.\nother.example A 192.0.2.3\n"
	for _, c := range []struct{ more, want string }{
		{"", "other.example"},
		{"mail.email.example.com A 192.0.2.3", "mail.email.example.com"},
		{"mail.email.example.com SERVFAIL", "other.example"},
		{"mail.email.example.com A 192.0.2.3\n3.2.0.192.in-addr.arpa PTR EMAIL.example.com.\n" +
			"email.example.com A 192.0.2.3",
			"EMAIL.example.com"},
		{"other.example SERVFAIL", "other.example"},
		{"other.example AAAA 2001:db8::1\nother.example CNAME other.example", "other.example"},
	} {
		if got := expand(t, parseZone(t, text+c.more), "192.0.2.3", "", "%{p}"); got != c.want {
			t.Errorf("%s: %s, want %s", c.more, got, c.want)
		}
	}
	for _, text := range []string{"", "3.2.0.192.in-addr.arpa SERVFAIL",
		"3.2.0.192.in-addr.arpa PTR x.example.\nx.example A 192.0.2.4",
		"3.2.0.192.in-addr.arpa PTR ."} {
		if got := expand(t, parseZone(t, text), "192.0.2.3", "", "%{p}"); got != "unknown" {
			t.Errorf("%s: %s", text, got)
		}
	}
}

func TestOnlyWhatIsNeededIsAsked(t *testing.T) {
	z := parseZone(t, `a.test TXT v=spf1 a exists:x.test mx ptr -all exp=why.test
a.test A 192.0.2.1
a.test AAAA 2001:db8::1
a.test MX 10 mx.a.test.
x.test AAAA 2001:db8::1
9.2.0.192.in-addr.arpa PTR mail.elsewhere.test.
9.2.0.192.in-addr.arpa PTR mail.a.test.
mx.test TXT v=spf1 mx:a.test ip4:192.0.2.9 mx -all
twice.test TXT v=spf1 exists:%{p}.%{p}.test ptr -all
`)
	for _, c := range []struct {
		client, domain string
		want           []string
	}{
		{"192.0.2.9", "a.test",
			[]string{"TXT a.test", "ip4 a.test", "ip4 x.test", "MX a.test", "ip4 mx.a.test", "PTR 192.0.2.9",
				"ip4 mail.a.test"}},
		{"2001:db8::9", "a.test",
			[]string{"TXT a.test", "ip6 a.test", "ip4 x.test", "MX a.test", "ip6 mx.a.test",
				"PTR 2001:db8::9"}},
		{"::ffff:192.0.2.1", "a.test", []string{"TXT a.test", "ip4 a.test"}},
		{"192.0.2.9", "mx.test", []string{"TXT mx.test", "MX a.test", "ip4 mx.a.test"}},
		{"192.0.2.9", "twice.test", []string{"TXT twice.test", "PTR 192.0.2.9", "ip4 mail.elsewhere.test",
			"ip4 mail.a.test", "ip4 unknown.unknown.test"}},
	} {
		l := listener{Resolver: z}
		Check(t.Context(), &l, identify(c.client, "", "alice@"+c.domain))
		if !slices.Equal(l.asked, c.want) {
			t.Errorf("%s, %s: %q, want %q", c.client, c.domain, l.asked, c.want)
		}
	}
}

func TestAddressesOfTheOtherFamilyAreNoVoidLookups(t *testing.T) {
	z := parseZone(t, `four.test A 192.0.2.1
six.test AAAA 2001:db8::2
fours.test TXT v=spf1 a:four.test a:four.test a:four.test a:four.test ip6:2001:db8::1 ip4:192.0.2.9 -all
sixes.test TXT v=spf1 a:six.test a:six.test a:six.test ip6:2001:db8::1 ip4:192.0.2.9 -all
mixed.test TXT v=spf1 a:four.test a:gone.test a:six.test exists:gone2.test +all
gone.test TXT v=spf1 a:four.test a:gone.test a:gone2.test mx:gone3.test +all
`)
	for _, c := range []struct {
		client, domain string
		want           Status
	}{
		{"2001:db8::1", "fours.test", Pass},
		{"192.0.2.9", "fours.test", Pass},
		{"2001:db8::1", "sixes.test", Pass},
		{"192.0.2.9", "sixes.test", Pass},
		{"2001:db8::1", "mixed.test", Pass}, // two, gone.test and gone2.test
		{"2001:db8::1", "gone.test", PermError},
		{"192.0.2.9", "gone.test", PermError},
	} {
		if got := Check(t.Context(), z, identify(c.client, "", "alice@"+c.domain)); got.Status != c.want {
			t.Errorf("%s, %s: %+v", c.client, c.domain, got)
		}
	}
}

// refusing refuses all questions from the n-th on.
type refusing struct {
	Resolver
	n int
}

var errRefused = errors.New("enough is enough")

func (r *refusing) refuse() error {
	if r.n--; r.n >= 0 {
		return nil
	}
	return fmt.Errorf("wrapped: %w", &net.DNSError{Err: "192.0.2.53 says no", UnwrapErr: errRefused})
}

func (r *refusing) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if err := r.refuse(); err != nil {
		return nil, err
	}
	return r.Resolver.LookupTXT(ctx, name)
}

func (r *refusing) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	if err := r.refuse(); err != nil {
		return nil, err
	}
	return r.Resolver.LookupMX(ctx, name)
}

func (r *refusing) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if err := r.refuse(); err != nil {
		return nil, err
	}
	return r.Resolver.LookupNetIP(ctx, network, host)
}

func (r *refusing) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	if err := r.refuse(); err != nil {
		return nil, err
	}
	return r.Resolver.LookupAddr(ctx, addr)
}

func TestARefusedLookupIsAPermanentError(t *testing.T) {
	z := parseZone(t,
		`all.test TXT v=spf1 a:four.test a:four.test a:four.test mx:mx.test ptr:names.test redirect=inner.test
inner.test TXT v=spf1 include:inmost.test -all
inmost.test TXT v=spf1 exists:%{p}.known.test -all
unknown.known.test A 127.0.0.2
four.test A 192.0.2.1
mx.test MX 10 four.test.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR one.names.test.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR other.test.
`)
	q := identify("2001:db8::1", "", "alice@all.test")
	l := listener{Resolver: z}
	if got := Check(t.Context(), &l, q); got.Status != Pass || len(l.asked) != 15 {
		t.Fatalf("%+v, %q", got, l.asked)
	}
	for n := range l.asked {
		q.Refused = errRefused
		want := Result{Status: PermError, Reason: "too many look-ups"}
		if got := Check(t.Context(), &refusing{z, n}, q); got != want {
			t.Errorf("after %d look-ups: %+v", n, got)
		}
		q.Refused = nil
		got := Check(t.Context(), &refusing{z, n}, q)
		// A failed look-up of PTR records counts for nothing (section 5.5), but here others follow, and fail.
		if got.Status != TempError || strings.Contains(got.Reason, "192.0.2.53") {
			t.Errorf("after %d look-ups, without Refused: %+v", n, got)
		}
	}
}

// RFC 7208 section 2.6.6: any failure is temporary, whatever Go's resolver says of it, and nobody is told
// which server it was.
func TestAFailureIsTemporary(t *testing.T) {
	tr := corpus(t)
	for _, domain := range []string{"failing.test", "includesfailing.test", "afailing.test", "mxfailing.test",
		"exchangefailing.test", "existsfailing.test", "redirectsfailing.test"} {
		got := tr.ours(t, arrival{"192.0.2.2", "", "alice@" + domain})
		if got != (Result{Status: TempError, Reason: "DNS did not answer"}) {
			t.Errorf("%s: %+v", domain, got)
		}
	}
}

func TestNothingToCheckIsNone(t *testing.T) {
	z := parseZone(t, "com TXT v=spf1 +all\na.test TXT v=spf1 ip6:fe80::/10 +ip4:192.0.2.1 -all")
	for domain, want := range map[string]Status{"": None, ".": None, "com": None, "com.": None,
		"a..test": None, ".a.test": None,
		"a.test": Pass, "a.test.": Pass, "a.test..": None, strings.Repeat("a", 64) + ".test": None,
		"a." + strings.Repeat("a", 64): None, strings.Repeat("a.", 125) + "test": None} {
		l := listener{Resolver: z}
		got := Check(t.Context(), &l, Query{IP: netip.MustParseAddr("192.0.2.1"), Domain: domain})
		if got.Status != want || got.Status == None && len(l.asked) > 0 {
			t.Errorf("%q: %+v, asked %q", domain, got, l.asked)
		}
	}
	if got := Check(t.Context(), z, Query{Domain: "a.test"}); got.Status != None {
		t.Errorf("without an address: %+v", got)
	}
	if got := Check(t.Context(), z,
		Query{IP: netip.MustParseAddr("fe80::1%eth0"), Domain: "a.test"}); got.Status != Pass {
		t.Errorf("with a zone: %+v", got)
	}
}

func TestErrorsOfSyntaxAreFound(t *testing.T) {
	for _, terms := range []string{"x=\x01", "x=\x7f", "a:x.org\t", "ip6:fe80::1%eth0", "ip6:fe80::1%25",
		"a:x.com-", "a:x.-com",
		"a:x.c_m", "ip4:192.0.2.1/", "ip4:", "ip4", "ip4/24", "a:/24", "mx:", "a/", "a//", "a/24/",
		"a/24///64", "a/024", "a//0128",
		"include", "exists/24", "include:x.org/24", "ptr/24", "all:", "-", "+", "?x.org", "--all", "1x=y",
		"x y=z:%", "x=%{c}", "exp=%{r}.x.org", "redirect=", "EXP=x", "Redirect=x.org REDIRECT=x.org"} {
		if _, err := parseRecord("v=spf1 ip4:192.0.2.1 " + terms); err == nil {
			t.Errorf("%q is taken", terms)
		}
	}
	for _, terms := range []string{"", "A/24//64", "Mx//0", "ptr:X.org.", "ip6:::ffff:192.0.2.1/96",
		"x.y-z_1=a:b/c%{d}%%", "a:%{d}/0", "a:x/1.org/8", "a:1.a1", "a:x.1-1", "exists:%{l/}//x.org",
		"redirect=%{d}%-", "x= x=", "v=spf1", "a=b"} {
		if _, err := parseRecord("v=spf1 " + terms); err != nil {
			t.Errorf("%q: %v", terms, err)
		}
	}
}

// half gives MX records and an error, as Go's resolver does where some are malformed.
type half struct{ zone }

func (h half) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	list, _ := h.zone.LookupMX(ctx, name)
	return list, &net.DNSError{Err: "DNS response contained records which contain invalid names"}
}

func TestMXRecordsBesideMalformedOnesCount(t *testing.T) {
	z := parseZone(t, "a.test TXT v=spf1 mx -all\na.test MX 10 mx.a.test.\nmx.a.test A 192.0.2.1\n"+
		"none.test TXT v=spf1 mx -all")
	for domain, want := range map[string]Status{"a.test": Pass, "none.test": TempError} {
		got := Check(t.Context(), half{z}, identify("192.0.2.1", "", "alice@"+domain))
		if got.Status != want {
			t.Errorf("%s: %+v", domain, got)
		}
	}
}

func TestTheLimitsOfPTR(t *testing.T) {
	z := parseZone(t, `a.test TXT v=spf1 ptr -all
nine.test TXT v=spf1 `+strings.Repeat("a:mx.test ", 8)+`exists:%{p}.known.test -all
ten.test TXT v=spf1 `+strings.Repeat("a:mx.test ", 9)+`exists:%{p}.known.test -all
mx.test A 192.0.2.9
unknown.known.test A 127.0.0.2
a.test A 192.0.2.1
`)
	for n := range 10 {
		z["1.2.0.192.in-addr.arpa"] = append(z["1.2.0.192.in-addr.arpa"],
			[]string{"PTR", fmt.Sprintf("%d.other.test.", n)})
	}
	z["1.2.0.192.in-addr.arpa"] = append(z["1.2.0.192.in-addr.arpa"], []string{"PTR", "a.test."})
	// the look-up for %{p} is a tenth
	for domain, want := range map[string]Status{"a.test": Fail, "nine.test": Pass, "ten.test": PermError} {
		if got := Check(t.Context(), z, identify("192.0.2.1", "", "alice@"+domain)); got.Status != want {
			t.Errorf("%s: %+v", domain, got)
		}
	}
	z["1.2.0.192.in-addr.arpa"] = z["1.2.0.192.in-addr.arpa"][1:]
	q := identify("192.0.2.1", "", "alice@a.test")
	q.Refused = errRefused
	if got := Check(t.Context(), z, q); got.Status != Pass {
		t.Errorf("as the tenth name: %+v", got)
	}
	if got := Check(t.Context(), &refusing{z, 2}, q); got.Status != PermError {
		t.Errorf("refused: %+v", got)
	}
}

// The operator who has to mend a record needs to know which of its terms is wrong, also in an included one.
func TestATermThatIsNotValidIsNamedWithItsDomain(t *testing.T) {
	z := parseZone(t, `own.test TXT v=spf1 ip4:192.0.2.300 -all
comma.test TXT v=spf1 a, -all
includes.test TXT v=spf1 include:own.test -all
redirects.test TXT v=spf1 redirect=comma.test
twice.test TXT v=spf1 include:includes.test ~all
good.test TXT v=spf1 -all
`)
	for domain, want := range map[string]Result{
		"own.test":       {Term: "ip4:192.0.2.300", At: "own.test"},
		"comma.test":     {Term: "a,", At: "comma.test"},
		"includes.test":  {Term: "ip4:192.0.2.300", At: "own.test"},
		"redirects.test": {Term: "a,", At: "comma.test"},
		"twice.test":     {Term: "ip4:192.0.2.300", At: "own.test"},
		"good.test":      {},
	} {
		got := Check(t.Context(), z, identify("192.0.2.9", "", "alice@"+domain))
		if got.Term != want.Term || got.At != want.At || (got.Status == PermError) != (want.Term != "") {
			t.Errorf("%s: %+v, want %+v", domain, got, want)
		}
	}
}
