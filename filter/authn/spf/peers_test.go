package spf

import (
	"bytes"
	"encoding/json"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	library "blitiri.com.ar/go/spf"

	"postmend/tests/peer"
)

// arrival is a message as SPF sees it: address, HELO name, sender.
type arrival [3]string

func (a arrival) domain() string { return a[2][strings.LastIndexByte(a[2], '@')+1:] }

// verdict is what a judge says of an arrival. The text is pyspf's only.
type verdict struct {
	status Status
	text   string
}

// trial is a zone, and what arrives under it.
type trial struct {
	Zone     zone      `json:"zone"`
	Arrivals []arrival `json:"arrivals"`
}

// askLibrary asks blitiri.com.ar/go/spf about all arrivals of the trials.
func askLibrary(t testing.TB, trials ...trial) (list []verdict) {
	for _, trial := range trials {
		for _, a := range trial.Arrivals {
			status, _ := library.CheckHostWithSender(net.ParseIP(a[0]), a[1], a[2],
				library.WithContext(t.Context()), library.WithResolver(trial.Zone))
			list = append(list, verdict{status: Status(status)})
		}
	}
	return list
}

// askPySPF asks Debian's python3-spf.
func askPySPF(t testing.TB, trials ...trial) (list []verdict) {
	t.Helper()
	python := peer.Need(t, "python3")
	if err := exec.Command(python, "-c", "import spf").Run(); err != nil {
		peer.Missing(t, "python3-spf is not installed (make peers)")
	}
	var questions bytes.Buffer
	want := 0
	for _, trial := range trials {
		want += len(trial.Arrivals)
		if err := json.NewEncoder(&questions).Encode(trial); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(python, "testdata/pyspf.py")
	cmd.Stdin, cmd.Stderr = &questions, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("pyspf: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		status, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		list = append(list, verdict{Status(status), text})
	}
	if len(list) != want {
		t.Fatalf("pyspf: %d verdicts on %d arrivals", len(list), want)
	}
	return list
}

var clients = []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.77", "198.51.100.7",
	"198.51.100.8", "198.51.100.200",
	"203.0.113.5", "203.0.113.77", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8:1::7", "2001:db8:4000::1a",
	"2001:db8:ffff::1"}

// The domains of the corpus where some version of a judge says something else, and why it is not us who are
// wrong.
var (
	libraryDiffers = map[string]string{
		"broken.test":         "what follows a match is not looked at (RFC 7208 section 4.6 wants it)",
		"includesbroken.test": "as broken.test",
		"badip.test":          "as broken.test",
		"badip6.test":         "as broken.test",
		"leadingzero.test":    "a length with leading zeros is taken (section 5.6 says that it has none)",
		"numeric.test":        "a top label of digits is taken (section 7.1)",
		"twoexp.test":         "exp= is not looked at",
		"validated.test":      "%{p} is always unknown",
		"mapped.test":         "an ip6 matches an IPv4 client (section 5 forbids it)",
	}
	pySPFDiffers = map[string]string{
		"v4hosts.test":    "every family is counted as a void look-up of its own, see the package comment",
		"v4mx.test":       "as v4hosts.test",
		"zerodigits.test": "%{d0} is taken (section 7.3 says that it must not be zero)",
	}
)

// corpus is the zone of made-up domains, with an arrival of every client for every domain.
func corpus(t testing.TB) trial {
	t.Helper()
	text, err := os.ReadFile("testdata/corpus.zone")
	if err != nil {
		t.Fatal(err)
	}
	z := parseZone(t, string(text))
	var arrivals []arrival
	for _, domain := range slices.Sorted(maps.Keys(z)) {
		if strings.Count(domain, ".") > 1 {
			continue
		}
		for _, client := range clients {
			for _, helo := range []string{"mail.helo.test", "[192.0.2.1]"} {
				for _, local := range []string{"alice", "strong-bad", "a&b c"} {
					arrivals = append(arrivals, arrival{client, helo, local + "@" + domain})
				}
			}
		}
	}
	return trial{z, arrivals}
}

func (tr trial) ours(t testing.TB, a arrival) Result {
	return Check(t.Context(), tr.Zone, identify(a[0], a[1], a[2]))
}

// compareCorpus takes any verdict of a judge where it may differ. It gives the domains where it did.
func compareCorpus(t *testing.T, ask func(testing.TB, ...trial) []verdict,
	differs map[string]string) map[string]bool {
	tr := corpus(t)
	differed := map[string]bool{}
	verdicts := ask(t, tr)
	for n, a := range tr.Arrivals {
		got := tr.ours(t, a)
		if got.Status == verdicts[n].status {
			continue
		}
		differed[a.domain()] = true
		if _, known := differs[a.domain()]; !known {
			t.Errorf("%q: %+v, the judge says %v", a, got, verdicts[n])
		}
	}
	for domain := range differs {
		if _, found := tr.Zone[domain]; !found {
			t.Errorf("%s, where the judge may differ, is not in the corpus", domain)
		}
	}
	t.Logf("%d arrivals", len(tr.Arrivals))
	return differed
}

func TestTheLibrarySaysTheSame(t *testing.T) {
	differed := compareCorpus(t, askLibrary, libraryDiffers)
	for domain := range libraryDiffers { // go.mod fixes its version
		if !differed[domain] {
			t.Errorf("%s: the library says the same by now", domain)
		}
	}
}

func TestPySPFSaysTheSame(t *testing.T) { compareCorpus(t, askPySPF, pySPFDiffers) }
