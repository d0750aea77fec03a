package publicsuffix

import (
	"os"
	"slices"
	"strings"
	"testing"

	judge "golang.org/x/net/publicsuffix"
)

func TestExamplesOfTheList(t *testing.T) {
	// From https://github.com/publicsuffix/list/wiki/Format and its test data.
	for _, c := range []struct{ domain, suffix, registered string }{
		{"com", "com", ""},
		{"example.com", "com", "example.com"},
		{"a.b.example.com", "com", "example.com"},
		{"example.co.uk", "co.uk", "example.co.uk"},
		{"co.uk", "co.uk", ""},
		{"uk", "uk", ""},
		{"test.ck", "test.ck", ""},
		{"a.b.test.ck", "test.ck", "b.test.ck"},
		{"www.ck", "ck", "www.ck"},
		{"www.www.ck", "ck", "www.ck"},
		{"city.kobe.jp", "kobe.jp", "city.kobe.jp"},
		{"x.y.c.kobe.jp", "c.kobe.jp", "y.c.kobe.jp"},
		{"alice.github.io", "github.io", "alice.github.io"},
		{"host.internal", "internal", "host.internal"},
	} {
		suffix, _ := PublicSuffix(c.domain)
		registered, _ := Registered(c.domain)
		if suffix != c.suffix || registered != c.registered {
			t.Errorf("%s: suffix %q, registered %q; want %q, %q", c.domain, suffix, registered, c.suffix,
				c.registered)
		}
	}
}

func TestOnlyAListedSuffixIsListed(t *testing.T) {
	for domain, want := range map[string]bool{"mail.example.org": true, "localhost": false,
		"host.internal": false, "a.github.io": true} {
		if _, listed := PublicSuffix(domain); listed != want {
			t.Errorf("%s: listed %v", domain, listed)
		}
	}
}

func TestWhatIsNoDomainWasNotRegistered(t *testing.T) {
	for _, domain := range []string{"", ".", "..", ".example.com", "example.com.", "a..com"} {
		if registered, ok := Registered(domain); ok {
			t.Errorf("%q: %q", domain, registered)
		}
	}
}

// An upgrade of golang.org/x/net brings a newer list.
func TestTheRulesAreThoseOfTheLibrary(t *testing.T) {
	version, err := os.ReadFile("testdata/version")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(version)); got != judge.List.String() {
		t.Fatalf("rules.txt is from %s, the library from %s: go generate", got, judge.List.String())
	}
	lines := strings.Split(strings.TrimSuffix(rules, "\n"), "\n")
	if !slices.IsSorted(lines) {
		t.Fatal("rules.txt is not sorted: go generate")
	}
	for _, rule := range lines {
		if n := strings.Count(rule, ".") + 1; n > maxLabels {
			t.Fatalf("%s has %d labels: raise maxLabels", rule, n)
		}
		rule = strings.TrimPrefix(strings.TrimPrefix(rule, "!"), "*.")
		for _, domain := range []string{rule, "a." + rule, "b.a." + rule, "f.e.d.c.b.a." + rule,
			rule[strings.IndexByte(rule, '.')+1:], "x" + rule} {
			suffix, _ := PublicSuffix(domain)
			registered, _ := Registered(domain)
			wantSuffix, _ := judge.PublicSuffix(domain)
			wantRegistered, _ := judge.EffectiveTLDPlusOne(domain)
			if suffix != wantSuffix || registered != wantRegistered {
				t.Fatalf("%s: %q and %q, the library says %q and %q: go generate", domain, suffix, registered,
					wantSuffix, wantRegistered)
			}
		}
	}
}

func FuzzPublicSuffix(f *testing.F) {
	for _, seed := range []string{"a.b.co.uk", "www.ck", "..", "", "xn--fiqs8s", "a.\n.b",
		"*.ck", "!www.ck"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, domain string) {
		suffix, _ := PublicSuffix(domain)
		if !strings.HasSuffix(domain, suffix) {
			t.Fatalf("%q is no suffix of %q", suffix, domain)
		}
		registered, ok := Registered(domain)
		if ok && (len(registered) <= len(suffix) || !strings.HasSuffix(domain, registered)) {
			t.Fatalf("%q registered, suffix %q, of %q", registered, suffix, domain)
		}
	})
}
