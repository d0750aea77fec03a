package present_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"postmend/filter/domain"
	"postmend/postfix/maillog/present"
	"postmend/postfix/maillog/tally"
)

// TestTheListOfDomainsIsOneThatTheConfigurationReads: strangers choose the domains of From:, and with a list
// that cannot be read, all mail is deferred.
func TestTheListOfDomainsIsOneThatTheConfigurationReads(t *testing.T) {
	for name, isListed := range map[string]bool{
		"bank.example": true, "_x.bank.example": true, "xn--bcher-kva.example": true,
		// DMARC can pass for these.
		"x-.evil.example": false, "-x.evil.example": false,
		".evil.example": false, "": false, "#": false, "a b.example": false, "a\nb.example": false,
		strings.Repeat("a", 64) + ".example": false,
	} {
		var list bytes.Buffer
		if err := present.DomainList(&list, nil, []tally.Strict{{Domain: name}}); err != nil {
			t.Fatal(err)
		}
		entries := 0
		for line := range strings.Lines(list.String()) {
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			entries++
			if err := (domain.Set{}).Add(line); err != nil {
				t.Errorf("%q: the configuration is invalid: %v", name, err)
			}
		}
		if entries > 1 || isListed != (entries == 1) {
			t.Errorf("%q: %d entries", name, entries)
		}
	}
}

func TestTheListOfDomainsDoesNotGrowForEver(t *testing.T) {
	var list []byte
	for day := range 40 {
		var domains []tally.Strict
		for n := range 4096 {
			domains = append(domains, tally.Strict{Domain: fmt.Sprintf("d%d.n%d.evil.example", day, n)})
		}
		var next bytes.Buffer
		if err := present.DomainList(&next, list, domains); err != nil {
			t.Fatal(err)
		}
		if list = next.Bytes(); len(list) > 1<<20+1<<10 {
			t.Fatalf("%d octets after %d days", len(list), day)
		}
	}
}
