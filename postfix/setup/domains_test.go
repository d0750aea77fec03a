package setup

import (
	"slices"
	"testing"
)

// Postfix takes a domain as it is written, in U-labels or in A-labels (RFC 5890).
func TestBothSpellingsOfAnInternationalDomainAreFound(t *testing.T) {
	t.Parallel()
	h := newHost(t, "mydestination = münchen.de, xn--kln-sna.de\nvirtual_alias_domains = inline:{ "+
		"nürnberg.de=x, xn--dsseldorf-q9a.de=x }\n", "")
	d, err := ReadDomains(t.Context(), h.open())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"xn--mnchen-3ya.de", "xn--kln-sna.de"} {
		if !slices.Contains(d.Names, want) {
			t.Errorf("names %q, want %q among them", d.Names, want)
		}
	}
	for domain, want := range map[string]string{
		"xn--mnchen-3ya.de": "mydestination", "xn--kln-sna.de": "mydestination",
		"xn--nrnberg-n2a.de": "virtual_alias_domains", "xn--dsseldorf-q9a.de": "virtual_alias_domains",
		"xn--bcher-kva.de": "",
	} {
		if got := d.Class(domain); got != want {
			t.Errorf("%s is of %q, want %q", domain, got, want)
		}
	}
	if want := []string{"xn--dsseldorf-q9a.de", "xn--nrnberg-n2a.de"}; !slices.Equal(
		slices.Sorted(slices.Values(d.Listed)), want) {
		t.Errorf("listed %q, want %q", d.Listed, want)
	}
}
