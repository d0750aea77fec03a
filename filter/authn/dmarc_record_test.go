package authn

import "testing"

func TestRecordsAreReadAsRFC9989Says(t *testing.T) {
	none, quarantine, reject := PolicyNone, PolicyQuarantine, PolicyReject
	for _, c := range []struct {
		text string
		ok   bool
		want Record
		why  string
	}{
		{"v=DMARC1; p=reject", true, Record{Policy: reject}, ""},
		{"v=DMARC1;p=reject;", true, Record{Policy: reject}, "4.8: a final separator"},
		{"v = DMARC1 ; p = quarantine ; sp =none", true, Record{Policy: quarantine, Subdomains: none},
			"4.8: WSP around = and ;"},
		{"v=DMARC1; p=reject; np=none; sp=quarantine", true,
			Record{Policy: reject, Subdomains: quarantine, Nonexistent: none}, ""},
		{"V=DMARC1; P=Reject; ADKIM=S; aspf=s; T=Y", true,
			Record{Policy: reject, StrictDKIM: true, StrictSPF: true, Testing: true},
			"4.8: strings of ABNF are compared without case"},
		{"v=DMARC1; p=none; psd=y", true, Record{Policy: none, PublicSuffix: true}, ""},
		{"v=DMARC1; p=none; psd=n", true, Record{Policy: none, NotPublicSuffix: true}, ""},
		{"v=DMARC1; p=none; psd=u", true, Record{Policy: none}, "4.7: the default"},
		{"v=DMARC1; p=reject; pct=0; rf=afrf; ri=1; x=y; nonsense", true, Record{Policy: reject},
			"4.7: unknown tags are ignored"},
		{"v=DMARC1; p=reject; adkim=q; aspf=; t=maybe; psd=x", true, Record{Policy: reject},
			"4.8: defaults instead of errors"},
		{"v=DMARC1; sp=reject; p=quarantine", true, Record{Policy: quarantine, Subdomains: reject},
			"4.8: any order"},
		{"v=DMARC1", true, Record{Policy: none}, "4.7: without p=, as with p=none"},
		{"v=DMARC1; rua=mailto:a@example.org", true, Record{Policy: none}, "4.7: the same with reports"},
		{"v=DMARC1; sp=reject", true, Record{Policy: none, Subdomains: reject}, "4.7: the same with sp="},
		{"v=DMARC1; p=rejct", true, Record{}, "4.10.1: an invalid p=, no reports: not applied"},
		{"v=DMARC1; p=rejct; rua=mailto:a@example.org!10m", true, Record{Policy: none},
			"4.10.1: the same for an invalid p="},
		{"v=DMARC1; p=reject; sp=x; rua=mailto:a@example.org", true, Record{Policy: none, Perhaps: reject},
			"4.10.1: the same for an invalid sp=; mailauth and rspamd apply p="},
		{"v=DMARC1; p=reject; np=x", true, Record{Perhaps: reject}, "4.10.1: an invalid np=, no reports"},
		{"v=DMARC1; p=reject\u00a0; rua=mailto:a@example.org", true, Record{Policy: none, Perhaps: reject},
			"4.10.1: invalid; mailauth and authheaders drop the no-break space"},
		{"v=DMARC1;\u00a0p=reject; rua=mailto:a@example.org", true, Record{Policy: none, Perhaps: reject},
			"4.7: an unknown tag; they do the same"},
		{"v=DMARC1; p=rejct; rua=nobody", true, Record{}, "4.10.1: no valid URI"},
		{"v=DMARC1; p=rejct; rua=nobody, https://example.org/", true, Record{Policy: none},
			"4.10.1: one valid URI"},
		{"v=DMARC1; p=reject; p=none; sp=none; sp=quarantine; np=reject; np=none", true,
			Record{Policy: reject, Subdomains: quarantine, Nonexistent: reject},
			"twice: the stricter"},
		{"v=DMARC1; p=none; p=reject; adkim=s; adkim=r; aspf=r; aspf=s; t=n; t=y", true,
			Record{Policy: reject, StrictDKIM: true, StrictSPF: true}, "the same"},
		{"v=DMARC1; p=none; t=y; t=n", true, Record{Policy: none}, "the same"},
		{"v=DMARC1; p=reject; p=bogus", true, Record{Perhaps: reject}, "4.10.1: an invalid p="},
		{"v=dmarc1; p=reject", false, Record{}, "4.7: case sensitive"},
		{"p=reject; v=DMARC1", false, Record{}, "4.7: first in the list"},
		{"v=DMARC1p=reject", false, Record{}, "4.8: no separator"},
		{"v=DMARC12; p=reject", false, Record{}, ""},
		{" v=DMARC1; p=reject", false, Record{}, "4.8: nothing before it"},
		{"v=spf1 -all", false, Record{}, ""},
		{"", false, Record{}, ""},
	} {
		if got, ok := ParseRecord(c.text); ok != c.ok || got != c.want {
			t.Errorf("%q (%s): %+v, %v", c.text, c.why, got, ok)
		}
	}
}

func TestSeveralRecordsAreNone(t *testing.T) {
	if r, odd := findRecord([]string{"v=DMARC1; p=reject", "v=DMARC1; p=reject"}); r != nil || !odd {
		t.Errorf("%+v, %v", r, odd)
	}
	if r, odd := findRecord([]string{"something else", "v=DMARC1; p=reject", "v=DMARC2; p=none"}); r == nil ||
		r.Policy != PolicyReject || odd {
		t.Errorf("%+v, %v", r, odd)
	}
}

// What only resembles a record is told from nothing at all: mailauth, rspamd and authheaders each apply
// some of these.
func TestARecordThatIsNotValidIsNotNothing(t *testing.T) {
	for _, text := range []string{"v=DMARC1\\; p=reject", "v=DMARC1; p=reject; sp=bogus", "v=DMARC1 p=reject",
		"v=DMARC1; p=bogus", "v=dmarc1; p=reject",
		"v=DMARC1,p=reject", "v=DMARC1:p=reject", "v=DMARC12; p=none", "v=DMARC1;p=", "p=reject",
		"v=DMRAC1; p=quarantine", "\"v=DMARC1; p=none\""} {
		if r, odd := findRecord([]string{"v=spf1 -all", text}); r != nil && r.Policy != "" || !odd {
			t.Errorf("%q: %+v, %v", text, r, odd)
		}
	}
	for _, texts := range [][]string{nil, {"v=spf1 -all"}, {"v=DKIM1; p=MIIB"}, {"v=DMARC1; p=none"},
		{"v=DMARC1; p=none", "v=dmarc1; p=reject"}} {
		if r, odd := findRecord(texts); odd {
			t.Errorf("%q: %+v", texts, r)
		}
	}
}

func FuzzParseDMARCRecord(f *testing.F) {
	f.Add("v=DMARC1; p=reject; sp=none; np=quarantine; adkim=s; aspf=r; t=y; psd=n; rua=mailto:a@example.org")
	f.Add("v=DMARC1;;;=;p")
	f.Fuzz(func(t *testing.T, text string) {
		r, ok := ParseRecord(text)
		if !ok && r != (Record{}) {
			t.Errorf("no record, but %+v", r)
		}
		for _, p := range []Policy{r.Policy, r.Subdomains, r.Nonexistent} {
			if p != "" && p.strictness() == 0 {
				t.Errorf("policy %q", p)
			}
		}
		if r.Policy == "" && (r.Subdomains != "" || r.Nonexistent != "") || r.PublicSuffix &&
			r.NotPublicSuffix {
			t.Errorf("%+v", r)
		}
	})
}
