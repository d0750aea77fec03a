package spf

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// scenario is a part of a suite, see testdata/README.md.
type scenario struct {
	Description string
	Tests       map[string]struct {
		Spec, About          string
		Host, HELO, MailFrom string
		Result               []Status
	}
	Zone zone
}

func readSuite(t testing.TB, name string) (list []scenario) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		for name, records := range s.Zone {
			if lower := strings.ToLower(name); lower != name {
				s.Zone[lower] = append(s.Zone[lower], records...)
			}
		}
	}
	return list
}

// identify is the query for an envelope, as authn makes it.
func identify(host, helo, mailfrom string) Query {
	q := Query{IP: netip.MustParseAddr(host), HELO: helo, Domain: helo}
	if mailfrom != "" {
		at := strings.LastIndexByte(mailfrom, '@')
		q.Local, q.Domain = mailfrom[:max(at, 0)], mailfrom[at+1:]
	}
	return q
}

func runSuite(t *testing.T, file string, want int) {
	t.Helper()
	ran := 0
	for _, s := range readSuite(t, file) {
		for name, test := range s.Tests {
			ran++
			got := Check(t.Context(), s.Zone, identify(test.Host, test.HELO, test.MailFrom))
			if !slices.Contains(test.Result, got.Status) {
				t.Errorf("%s, %s (section %s; %s): %+v, want %v", s.Description, name, test.Spec, test.About,
					got, test.Result)
			}
		}
	}
	if ran != want {
		t.Errorf("%d tests, want %d", ran, want)
	}
}

func TestTheSuiteOfRFC7208Passes(t *testing.T) {
	runSuite(t, "rfc7208.json", 203)
}

func TestTheSuiteOfTheLibraryPasses(t *testing.T) {
	runSuite(t, "blitiri.json", 83)
}
