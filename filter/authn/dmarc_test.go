package authn

import (
	"context"
	"slices"
	"strings"
	"testing"

	"postmend/dkim"
)

func signed(domains ...string) (list []dkim.Verification) {
	for _, d := range domains {
		list = append(list, dkim.Verification{Status: dkim.Pass, Domain: d})
	}
	return list
}

func TestWalkAsksTheNamesOfRFC9989(t *testing.T) {
	for domain, want := range map[string]string{
		"com":              "com",
		"example.com":      "example.com com",
		"a.b.c.d.e.f.g":    "a.b.c.d.e.f.g b.c.d.e.f.g c.d.e.f.g d.e.f.g e.f.g f.g g",
		"a.b.c.d.e.f.g.h":  "a.b.c.d.e.f.g.h b.c.d.e.f.g.h c.d.e.f.g.h d.e.f.g.h e.f.g.h f.g.h g.h h",
		"1.a.b.c.d.e.f.gg": "1.a.b.c.d.e.f.gg a.b.c.d.e.f.gg b.c.d.e.f.gg c.d.e.f.gg d.e.f.gg e.f.gg f.gg gg",
		// section 4.10
		"a.b.c.d.e.f.g.h.i.j.mail.example.com": "a.b.c.d.e.f.g.h.i.j.mail.example.com " +
			"g.h.i.j.mail.example.com h.i.j.mail.example.com i.j.mail.example.com j.mail.example.com " +
			"mail.example.com example.com com",
		// section 5.1.8
		"mail.a.b.c.d.e.f.g.example.com": "mail.a.b.c.d.e.f.g.example.com c.d.e.f.g.example.com " +
			"d.e.f.g.example.com e.f.g.example.com f.g.example.com g.example.com example.com com",
	} {
		if got := strings.Join(walkNames(domain), " "); got != want {
			t.Errorf("%s:\n got %s\nwant %s", domain, got, want)
		}
	}
}

func TestOrganisationalDomainByTreeWalk(t *testing.T) {
	for _, c := range []struct{ zone, domain, want, why string }{
		{"mail.example.com= example.com=", "a.mail.example.com", "example.com", "4.10.2, first example"},
		{"mail.example.com=psd=n example.com=", "a.mail.example.com", "mail.example.com",
			"4.10.2, second example"},
		{"com=psd=y", "a.mail.example.com", "example.com", "4.10.2, last example"},
		{"example.com=psd=y mail.example.com=", "mail.example.com", "mail.example.com", "4.10.2 rule 2"},
		{"", "a.mail.example.com", "a.mail.example.com", "nothing found: the domain itself"},
		{"bank.example=psd=y giant.bank.example=", "mail.giant.bank.example", "giant.bank.example", "B.4.3"},
		{"bank.example=psd=y giant.bank.example=", "mail.mega.bank.example", "mega.bank.example", "B.4.3"},
		{"bank.example=psd=y example=", "bank.example", "bank.example",
			"psd=y where the walk starts ends it"},
		{"bank.example=psd=n example=", "bank.example", "bank.example", ""},
		{"bank.example=psd=y example=psd=n", "x.bank.example", "x.bank.example",
			"the walk stops at the first psd"},
		{"b.c.d.e.f.g.example.com=psd=n example.com=", "mail.a.b.c.d.e.f.g.example.com", "example.com",
			"5.1.8: never asked"},
		{"c.d.e.f.g.example.com=psd=y", "mail.a.b.c.d.e.f.g.example.com", "b.c.d.e.f.g.example.com",
			"one label below, though it was skipped"},
	} {
		v := view{records: map[string]*Record{}}
		for entry := range strings.FieldsSeq(c.zone) {
			name, tags, _ := strings.Cut(entry, "=")
			r, _ := ParseRecord("v=DMARC1; p=none; " + tags)
			v.records[name] = &r
		}
		if got, _ := v.organisational(c.domain); got != c.want {
			t.Errorf("%s under %q: %s, want %s (%s)", c.domain, c.zone, got, c.want, c.why)
		}
	}
}

// dmarcCase is one evaluation: From:, what passed ("?" before it: DNS failed), and what is to come out.
type dmarcCase struct {
	why    string
	zone   string
	from   string
	spf    string
	dkim   string
	status Status
	policy Policy
	found  string // PolicyName without _dmarc.
	by     string
}

func (c dmarcCase) run(t *testing.T) DMARC {
	t.Helper()
	s := serve(t, c.zone)
	spf := SPF{Status: Pass, Identity: "mailfrom", Domain: strings.TrimPrefix(c.spf, "?")}
	switch {
	case c.spf == "":
		spf = SPF{Status: None}
	case c.spf[0] == '?':
		spf.Status = TempError
	}
	var signatures []dkim.Verification
	for d := range strings.FieldsSeq(c.dkim) {
		domain, pending := strings.CutPrefix(d, "?")
		signatures = append(signatures, signed(domain)...)
		if pending {
			signatures[len(signatures)-1].Status = dkim.TempError
		}
	}
	r := New(s.Addr())
	var authors []string
	if c.from != "" {
		authors = strings.Split(c.from, ",")
	}
	d := EvaluateDMARC(t.Context(), r, authors, spf, signatures)
	if d.Status != c.status || d.Policy != c.policy ||
		strings.TrimPrefix(d.PolicyName, "_dmarc.") != c.found ||
		strings.Join(d.AlignedBy, ", ") != c.by {
		t.Errorf("%s: From: %s spf %s dkim %s:\n got %s %q in %s by %v (%s)\nwant %s %q in %s by %s", c.why,
			c.from, c.spf, c.dkim, d.Status, d.Policy, d.PolicyName, d.AlignedBy, d.Reason, c.status,
			c.policy, c.found, c.by)
	}
	if (d.Reason == "") != (d.Status == Pass) {
		t.Errorf("%s: status %s, reason %q", c.why, d.Status, d.Reason)
	}
	askedOnce(t, c.why, s.Queries())
	return d
}

// askedOnce allows for the repetitions that Go's resolver does when it gets no answer.
func askedOnce(t *testing.T, why string, queries []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, q := range queries {
		if seen[q] && !strings.Contains(q, "fail") {
			t.Errorf("%s: %s was asked twice", why, q)
		}
		seen[q] = true
	}
}

const (
	plain  = "_dmarc.example.com TXT v=DMARC1; p=reject\n"
	strict = "_dmarc.example.com TXT v=DMARC1; p=reject; adkim=s; aspf=s\n"
	banks  = "_dmarc.bank.example TXT v=DMARC1; p=reject; psd=y\n_dmarc.giant.bank.example TXT v=DMARC1; " +
		"p=quarantine\n"
)

// The policies, short for the table.
const none, quarantine, reject = PolicyNone, PolicyQuarantine, PolicyReject

var dmarcCases = []dmarcCase{
	// Alignment: RFC 9989 appendix B.1.
	{"B.1.1 example 1", plain, "example.com", "example.com", "", Pass, reject, "example.com", "spf"},
	{"B.1.1 example 1, strict", strict, "example.com", "example.com", "", Pass, reject,
		"example.com", "spf"},
	{"B.1.1 example 2", plain, "example.com", "child.example.com", "", Pass, reject,
		"example.com", "spf"},
	{"B.1.1 example 2, strict", strict, "example.com", "child.example.com", "", Fail, reject,
		"example.com", ""},
	{"B.1.1 example 3", plain, "child.example.com", "example.net", "", Fail, reject, "example.com", ""},
	{"B.1.2 example 1", plain, "example.com", "", "example.com", Pass, reject, "example.com",
		"dkim d=example.com"},
	{"B.1.2 example 2", plain, "child.example.com", "", "example.com", Pass, reject, "example.com",
		"dkim d=example.com"},
	{"B.1.2 example 2, strict", strict, "child.example.com", "", "example.com", Fail, reject,
		"example.com", ""},
	{"B.1.2 example 3", plain, "child.example.com", "", "example.net", Fail, reject, "example.com", ""},
	{"case does not matter", plain, "Example.COM.", "EXAMPLE.com", "Child.Example.Com", Pass, reject,
		"example.com", "spf, dkim d=child.example.com"},
	{"adkim=s leaves SPF alone", "_dmarc.example.com TXT v=DMARC1; p=reject; adkim=s", "example.com",
		"m.example.com", "m.example.com", Pass, reject, "example.com", "spf"},
	{"aspf=s leaves DKIM alone", "_dmarc.example.com TXT v=DMARC1; p=reject; aspf=s", "example.com",
		"m.example.com", "m.example.com", Pass, reject, "example.com", "dkim d=m.example.com"},
	{"one of several signatures", plain, "example.com", "", "provider.net example.com other.example",
		Pass, reject, "example.com", "dkim d=example.com"},
	{"a name that only ends alike", plain, "example.com", "notexample.com", "notexample.com", Fail,
		reject, "example.com", ""},
	{"nothing passed", plain, "example.com", "", "", Fail, reject, "example.com", ""},
	{"no record", "", "example.com", "example.com", "example.com", None, "", "", ""},

	// Tree walks: appendix B.4.
	{"B.4.1", plain + "_dmarc.signing.example.com TXT v=DMARC1; p=none", "example.com", "example.com",
		"signing.example.com", Pass, reject, "example.com", "spf, dkim d=signing.example.com"},
	{"B.4.2", plain + "_dmarc.signing.example.com TXT v=DMARC1; p=none",
		"a.b.c.d.e.f.g.h.i.j.k.example.com", "example.com", "signing.example.com", Pass, reject,
		"example.com", "spf, dkim d=signing.example.com"},
	{"B.4.3", banks, "giant.bank.example", "mail.giant.bank.example", "mail.mega.bank.example", Pass,
		quarantine, "giant.bank.example", "spf"},
	{"B.4.3, a bank that publishes nothing", banks, "mega.bank.example", "", "mail.giant.bank.example",
		Fail, reject, "bank.example", ""},

	// Policy discovery: section 4.10.1.
	{"sp= for subdomains", "_dmarc.example.com TXT v=DMARC1; p=none; sp=reject\n" +
		"sub.example.com A 192.0.2.1", "sub.example.com", "", "",
		Fail, reject, "example.com", ""},
	{"sp= not for the domain itself", "_dmarc.example.com TXT v=DMARC1; p=none; sp=reject", "example.com",
		"", "", Fail, none, "example.com", ""},
	{"sp=none below p=reject", "_dmarc.example.com TXT v=DMARC1; p=reject; sp=none", "sub.example.com",
		"", "", Fail, none, "example.com", ""},
	{"the subdomain's own record first", plain + "_dmarc.sub.example.com TXT v=DMARC1; p=none",
		"sub.example.com", "", "", Fail, none, "sub.example.com", ""},
	{"a record between is not the organisation's: stricter by neither",
		plain + "_dmarc.b.example.com TXT v=DMARC1; p=none; sp=none",
		"a.b.example.com", "", "", Fail, reject, "example.com", ""},
	{"np= for what does not exist", "_dmarc.example.com TXT v=DMARC1; p=none; np=reject",
		"gone.example.com", "", "", Fail, reject, "example.com", ""},
	{"np= not for what exists", "_dmarc.example.com TXT v=DMARC1; p=none; np=reject\n" +
		"sub.example.com MX 10 mx.example.com", "sub.example.com",
		"", "", Fail, none, "example.com", ""},
	{"np= not for an empty non-terminal", "_dmarc.example.com TXT v=DMARC1; p=none; np=reject\n" +
		"a.sub.example.com A 192.0.2.1", "sub.example.com",
		"", "", Fail, none, "example.com", ""},
	{"np= is unknown to the list: the stricter", "_dmarc.example.com TXT v=DMARC1; p=reject; np=none",
		"gone.example.com", "", "", Fail, reject, "example.com", ""},
	{"t=y: reject becomes quarantine", "_dmarc.example.com TXT v=DMARC1; p=reject; t=y", "example.com",
		"", "", Fail, quarantine, "example.com", ""},
	{"t=y: quarantine becomes none", "_dmarc.example.com TXT v=DMARC1; p=quarantine; t=y", "example.com",
		"", "", Fail, none, "example.com", ""},
	{"t=y lowers sp= as well", "_dmarc.example.com TXT v=DMARC1; p=none; sp=reject; t=y", "a.example.com",
		"", "", Fail, quarantine, "example.com", ""},
	{"several records are none", plain + plain, "example.com", "example.com", "", None, "", "", ""},
	{"several records: the next one up", plain + "_dmarc.a.example.com TXT v=DMARC1; p=none\n" +
		"_dmarc.a.example.com TXT v=DMARC1; p=none",
		"a.example.com", "", "", Fail, reject, "example.com", ""},
	{"another record beside it", plain + "_dmarc.example.com TXT v=spf1 -all", "example.com",
		"example.com", "", Pass, reject, "example.com", "spf"},
	{"no p=", "_dmarc.example.com TXT v=DMARC1; adkim=s", "example.com", "example.com", "", Pass, none,
		"example.com", "spf"},
	{"invalid p=, no reports", "_dmarc.example.com TXT v=DMARC1; p=x", "example.com", "example.com", "",
		None, "", "", ""},
	{"invalid p=, reports", "_dmarc.example.com TXT v=DMARC1; p=x; rua=mailto:a@example.com",
		"example.com", "example.com", "", Pass, none, "example.com", "spf"},
	{"a CNAME leads to the record", "_dmarc.example.com CNAME d.example.net\n" +
		"d.example.net TXT v=DMARC1; p=reject", "example.com", "", "",
		Fail, reject, "example.com", ""},

	// Where the two ways disagree.
	{"psd=n parts what the list joins", plain + "_dmarc.dept.example.com TXT v=DMARC1; p=reject; psd=n",
		"dept.example.com", "", "example.com", Fail, reject, "dept.example.com", ""},
	{"psd=n joins what is below it", plain + "_dmarc.dept.example.com TXT v=DMARC1; p=quarantine; psd=n",
		"a.dept.example.com", "", "b.dept.example.com", Pass, reject, "example.com",
		"dkim d=b.dept.example.com"},
	{"the list parts what the walk joins", "_dmarc.co.uk TXT v=DMARC1; p=none\n" +
		"_dmarc.a.co.uk TXT v=DMARC1; p=reject", "a.co.uk", "", "b.co.uk",
		Fail, reject, "a.co.uk", ""},
	{"a record that only the walk finds", "_dmarc.b.example.com TXT v=DMARC1; p=reject",
		"a.b.example.com", "", "b.example.com", Pass, reject, "b.example.com", "dkim d=b.example.com"},
	{"a policy that only the public suffix has", "_dmarc.bank.example TXT v=DMARC1; p=none; " +
		"sp=reject; psd=y", "x.bank.example", "", "",
		Fail, reject, "bank.example", ""},
	{"below it, itself passes", "_dmarc.bank.example TXT v=DMARC1; p=none; sp=reject; psd=y",
		"x.bank.example", "mail.x.bank.example", "", Pass, reject, "bank.example", "spf"},
	{"no policy by the walk, one by the list", "_dmarc.c.d.e.f.g.example.com TXT v=DMARC1; p=x; psd=n\n" +
		plain, "a.c.d.e.f.g.example.com", "",
		"example.com", Pass, reject, "example.com", "dkim d=example.com"},

	// From: that is not one domain.
	{"no author domain", plain, "", "example.com", "", PermError, "", "", ""},
	{"no domain name", plain, "exa mple.com", "example.com", "", PermError, "", "", ""},
	{"the same domain twice", plain, "example.com,EXAMPLE.com", "example.com", "", Pass, reject,
		"example.com", "spf"},
	{"two domains: never pass, the stricter policy", plain + "_dmarc.example.net TXT v=DMARC1; p=none",
		"example.net,example.com", "example.com", "example.net", PermError, reject, "example.com", ""},
	{"internationalised", "_dmarc.xn--bcher-kva.example TXT v=DMARC1; p=reject", "Bücher.example",
		"xn--bcher-kva.example", "", Pass, reject, "xn--bcher-kva.example", "spf"},
}

func TestDMARC(t *testing.T) {
	for _, c := range dmarcCases {
		t.Run(c.why, func(t *testing.T) { c.run(t) })
	}
}

// What could be missing does not matter unless it could change the result.
func TestDMARCWithoutAnswers(t *testing.T) {
	quarantine, reject := PolicyQuarantine, PolicyReject
	for _, c := range []dmarcCase{
		{"the author domain's record", "_dmarc.fail.com SERVFAIL", "fail.com", "fail.com", "",
			TempError, "", "", ""},
		{"the organisation's record", "_dmarc.fail.com SERVFAIL", "a.fail.com", "a.fail.com", "",
			TempError, "", "", ""},
		{"the record is there, what is above fails, same domain",
			"_dmarc.a.fail.com TXT v=DMARC1; p=reject\n_dmarc.fail.com SERVFAIL", "a.fail.com",
			"a.fail.com", "", Pass, reject, "a.fail.com", "spf"},
		{"the record is there, what is above fails, another subdomain",
			"_dmarc.a.fail.com TXT v=DMARC1; p=reject\n_dmarc.fail.com SERVFAIL",
			"a.fail.com", "", "b.fail.com", TempError, reject, "a.fail.com", ""},
		{"the top-level domain", "_dmarc.example.fail TXT v=DMARC1; p=reject\n_dmarc.fail SERVFAIL",
			"example.fail", "mail.example.fail", "", Pass, reject, "example.fail", "spf"},
		{"the top-level domain, for a subdomain", "_dmarc.example.fail TXT v=DMARC1; p=quarantine\n" +
			"_dmarc.fail SERVFAIL", "a.example.fail", "", "",
			Fail, quarantine, "example.fail", ""},
		{"the top-level domain, and nothing below it", "_dmarc.fail SERVFAIL", "example.fail", "", "",
			TempError, "", "", ""},
		{"everything", "_dmarc.a.b.fail SERVFAIL\n_dmarc.b.fail SERVFAIL\n_dmarc.fail SERVFAIL", "a.b.fail",
			"", "", TempError, "", "", ""},
		{"whether it exists", "_dmarc.example.com TXT v=DMARC1; p=none; np=reject\nfail.example.com SERVFAIL",
			"fail.example.com", "", "", TempError, "", "", ""},
		{"whether it exists, where np= is as strict", "_dmarc.example.com TXT v=DMARC1; p=reject; " +
			"np=reject\nfail.example.com SERVFAIL",
			"fail.example.com", "", "", Fail, reject, "example.com", ""},
		{"an identifier that is not aligned", plain, "example.com", "?example.net", "?provider.net", Fail,
			reject, "example.com", ""},
		{"an aligned signature", plain, "example.com", "", "?example.com", TempError, reject,
			"example.com", ""},
		{"aligned SPF", plain, "example.com", "?m.example.com", "", TempError, reject, "example.com", ""},
		{"an aligned signature, but another passes", plain, "example.com", "example.com", "?example.com",
			Pass, reject, "example.com", "spf"},
		{"an aligned signature, no policy", "", "example.com", "", "?example.com", None, "", "", ""},
		{"the policy of one of two authors", plain + "_dmarc.fail.net SERVFAIL", "example.com,fail.net", "",
			"", TempError, reject, "example.com", ""},
	} {
		t.Run(c.why, func(t *testing.T) { c.run(t) })
	}
}

func TestPendingSignaturesAreNamed(t *testing.T) {
	c := dmarcCase{"pending", plain, "example.com", "example.com",
		"?a.example.com ?a.example.com ?provider.net", Pass, PolicyReject, "example.com", "spf"}
	if d := c.run(t); !slices.Equal(d.Pending, []string{"dkim d=a.example.com"}) {
		t.Errorf("%q", d.Pending)
	}
}

func TestNoAnswerInTimeIsTemporary(t *testing.T) {
	s := serve(t, plain)
	ctx, end := context.WithCancel(t.Context())
	end()
	d := EvaluateDMARC(ctx, New(s.Addr()), []string{"example.com"},
		SPF{Status: Pass, Domain: "example.com"}, nil)
	if d.Status != TempError ||
		d.Policy != "" || len(d.AlignedBy) > 0 {
		t.Errorf("%+v", d)
	}
}

func TestNumberOfDMARCQueries(t *testing.T) {
	for _, c := range []struct {
		from, dkim string
		want       int
		why        string
	}{
		{"example.com", "example.com", 2, "the domain and its top-level domain"},
		{"a.b.c.d.e.f.g.h.i.j.mail.example.com", "", 8, "RFC 9989 section 4.10"},
		{"a.b.c.d.e.f.g.h.i.j.mail.example.com", "provider.net mail.example.net", 8,
			"signatures that cannot be aligned cost nothing"},
		{"a.example.com", "b.example.com", 4, "one more for the signature's domain"},
		{"example.com", "a.b.c.d.e.f.g.h.i.j.k.example.com", 8,
			"eight for the signature's, two of them shared"},
	} {
		s := serve(t, plain)
		EvaluateDMARC(t.Context(), New(s.Addr()), []string{c.from}, SPF{Status: None},
			signed(strings.Fields(c.dkim)...))
		queries := s.Queries()
		if len(queries) != c.want {
			t.Errorf("%s dkim %s (%s): %q", c.from, c.dkim, c.why, queries)
		}
		askedOnce(t, c.why, queries)
	}
}
