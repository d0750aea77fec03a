package authn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"postmend/filter/authn/dnsserver"
)

// serve serves a zone until the test ends.
func serve(t testing.TB, zone string) *dnsserver.Server {
	t.Helper()
	s, err := dnsserver.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestEachQuestionIsAskedOnce(t *testing.T) {
	s := serve(t, "example.org TXT one\nexample.org MX 10 mx.example.org")
	r := New(s.Addr())
	var asking sync.WaitGroup
	for i := range 20 {
		asking.Go(func() {
			name := []string{"example.org", "Example.ORG."}[i%2]
			if texts, err := r.LookupTXT(t.Context(), name); err != nil ||
				!slices.Equal(texts, []string{"one"}) {
				t.Errorf("%q, %v", texts, err)
			}
			if _, err := r.LookupTXT(t.Context(), "gone.example.org"); !isNotFound(err) {
				t.Errorf("a name that does not exist: %v", err)
			}
		})
	}
	asking.Wait()
	r.LookupMX(t.Context(), "example.org")
	queries := s.Queries()
	slices.Sort(queries)
	want := []string{"example.org. MX", "example.org. TXT", "gone.example.org. TXT"}
	if !slices.Equal(queries, want) || r.count != 3 {
		t.Errorf("%q, count %d", queries, r.count)
	}
}

func TestOnlyNXDOMAINMeansThatANameDoesNotExist(t *testing.T) {
	long := strings.Repeat("x", 2000)
	s := serve(t, "a.b.example.org A 192.0.2.1\nlong.example.org TXT "+long+"\nbroken.example.org SERVFAIL\n"+
		"alias.example.org CNAME gone.example.org") // RFC 6604 section 3: the code is of the end of the chain
	r := New(s.Addr())
	for name, want := range map[string]bool{
		"a.b.example.org": true, "b.example.org": true, "long.example.org": true, "x.example.org": false,
		"x.a.b.example.org": false, "alias.example.org": false,
	} {
		if got, err := r.Exists(t.Context(), name); got != want || err != nil {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	if _, err := r.Exists(t.Context(), "broken.example.org"); err == nil || isNotFound(err) {
		t.Errorf("SERVFAIL: %v", err)
	}
}

// RFC 7208 section 2.6.6: whatever is neither "no error" nor "no such name" is transient.
func TestFailuresAreTemporary(t *testing.T) {
	s := serve(t, "broken.example SERVFAIL")
	for name, r := range map[string]*Resolver{"broken.example": New(s.Addr()),
		"refused.example": New("127.0.0.1:1")} {
		_, err := r.LookupTXT(t.Context(), name)
		var failure *net.DNSError
		if !errors.As(err, &failure) || !failure.Temporary() || failure.IsNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLookupsAreLimited(t *testing.T) {
	s := serve(t, "example.org TXT one")
	r := New(s.Addr())
	for i := range maxLookups + 10 {
		_, err := r.LookupTXT(t.Context(), fmt.Sprintf("%d.example.org", i))
		var failure *net.DNSError
		beyond := i >= maxLookups
		if errors.Is(err, ErrTooManyLookups) != beyond || !errors.As(err, &failure) || failure.Temporary() {
			t.Fatalf("look-up %d: %v", i, err)
		}
	}
	if _, err := r.LookupTXT(t.Context(), "0.example.org"); !isNotFound(err) {
		t.Errorf("an old answer is gone: %v", err)
	}
	if n := len(s.Queries()); n != maxLookups {
		t.Errorf("%d queries", n)
	}
}

func TestWhoHasTimeLeftAsksAgain(t *testing.T) {
	s := serve(t, "example.org TXT one")
	r := New(s.Addr())
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := r.LookupTXT(ended, "example.org"); err == nil || isNotFound(err) {
		t.Errorf("with an ended context: %v", err)
	}
	if texts, err := r.LookupTXT(t.Context(), "example.org"); err != nil || len(texts) != 1 {
		t.Errorf("afterwards: %q, %v", texts, err)
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	s := serve(t, "silent.example DROP")
	r := New(s.Addr())
	first, endFirst := context.WithCancel(t.Context())
	second, endSecond := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	for _, ctx := range []context.Context{first, second} {
		asking.Go(func() {
			if _, err := r.LookupTXT(ctx, "silent.example"); err == nil || isNotFound(err) {
				t.Errorf("%v", err)
			}
		})
	}
	endSecond()
	endFirst()
	asking.Wait()
}

func TestNamesThatAreNoneAreNotAsked(t *testing.T) {
	s := serve(t, "")
	r := New(s.Addr())
	for _, name := range []string{"", ".", "a..b", strings.Repeat("a.", 140) + "b",
		strings.Repeat("a", 64) + ".org"} {
		if _, err := r.LookupTXT(t.Context(), name); !isNotFound(err) {
			t.Errorf("%.80q: %v", name, err)
		}
	}
	if q := s.Queries(); len(q) != 0 {
		t.Errorf("%q", q)
	}
}

// RFC 7208 section 7.3 makes names of whatever stands before the @; RFC 2181 section 11 lets a name have
// any octets.
func TestEveryNameThatDNSAllowsIsAsked(t *testing.T) {
	for _, name := range []string{
		"strong+bad._spf.example.org", "a=b.example.org", "x!#$%&'*/?^`{|}~y.example.org",
		"b\xfc\xc4cher.example.org", "bücher.example.org", "-a-.example.org", "_.example.org", "1.2.3.4",
		"localhost", strings.Repeat("a.", 126) + "b", strings.Repeat("a", 63) + ".example.org",
	} {
		s := serve(t, name+" A 192.0.2.1")
		ips, err := New(s.Addr()).LookupNetIP(t.Context(), "ip4", name)
		if err != nil || len(ips) != 1 || ips[0].String() != "192.0.2.1" {
			t.Errorf("%.80q: %v, %v; asked %q", name, ips, err, s.Queries())
		}
	}
}

// Every hosts file has this name, with another address.
func TestTheHostsFileIsNotRead(t *testing.T) {
	s := serve(t, "localhost A 192.0.2.10\nlocalhost AAAA 2001:db8::10")
	found, err := New(s.Addr()).LookupIPAddr(t.Context(), "localhost")
	if len(found) != 2 || found[0].String() != "192.0.2.10" ||
		found[1].String() != "2001:db8::10" || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	if found, err := New(serve(t, "").Addr()).LookupIPAddr(t.Context(), "localhost"); !isNotFound(err) {
		t.Errorf("%v, %v", found, err)
	}
}
