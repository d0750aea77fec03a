package authn

import (
	"fmt"
	"strings"
	"testing"
)

// believed shows what a field proves if filter.fwd.test is trusted, as flat does; "no" if nothing.
func believed(field string) string {
	a, err := Parse([]byte(field))
	if err != nil || !a.IsOf("filter.fwd.test") {
		return "no"
	}
	return strings.TrimSpace(strings.TrimPrefix(flat(a), a.ID))
}

// RFC 8601 section 2.2: the authserv-id is a value, a token or a quoted string of RFC 2045 section 5.1,
// with CFWS around it.
func TestOnlyTheNameItselfIsBelieved(t *testing.T) {
	const says = "; dkim=pass header.d=bank.example"
	for _, id := range []string{
		"filter.fwd.test", " FILTER.Fwd.TEST ", "\r\n\tfilter.fwd.test", "\n filter.fwd.test",
		`"filter.fwd.test"`, `"Filter.fwd.test" `, "filter.fwd.test 1",
		"filter.fwd.test\t1 ", "(a comment) filter.fwd.test (another)", `((a) \) b)filter.fwd.test(x)1(y)`,
		"filter.fwd.test\r\n\t(folded\r\n\tcomment)\r\n\t1\r\n\t",
	} {
		if got := believed(id + says); got != "dkim=pass header.d=bank.example" {
			t.Errorf("%q: %s", id, got)
		}
		if !ClaimsToBe([]byte(id+says), "filter.fwd.test") {
			t.Errorf("%q is believed, and not recognised as a claim", id)
		}
	}
	for _, id := range []string{
		"x@filter.fwd.test", "a/filter.fwd.test", "[filter.fwd.test]", "filter.fwd.test.",
		`"x y" (filter.fwd.test)`,
		"filter.fwd.test/1", "filter.fwd.test/ABCDEF", "filter.fwd.test:25", "filter.fwd.test,",
		"filter.fwd.test=1", "<filter.fwd.test>", "filter.fwd.test@x",
		".filter.fwd.test", "afilter.fwd.test", "filter.fwd.test.evil.example", "evil.filter.fwd.test",
		"filter.fwd", "fwd.test",
		`"filter\.fwd.test"`, `"\f\i\l\t\e\r.fwd.test"`, `"filter.fwd.test `, `filter.fwd.test"`,
		`"filter".fwd.test`, `"filter.""fwd.test"`,
		`"filter.fwd.test"@x`, `" filter.fwd.test"`, `"filter.fwd.test "`, `""filter.fwd.test`,
		`filter."fwd".test`, `"filter.fwd.test"1`,
		"filter.fwd.\r\n\ttest", "filter.\r\n fwd.test", "filter (x).fwd.test", "filter(x).fwd.test",
		"filter . fwd . test", "filter.fwd. test",
		"filter.fwd.test 2", "filter.fwd.test 1.0", "filter.fwd.test x", "filter.fwd.test 1 1",
		"filter.fwd.test1", "filter.fwd.test evil.example",
		"evil.example filter.fwd.test", "(filter.fwd.test)", "(filter.fwd.test", "(x filter.fwd.test",
		"(x)) filter.fwd.test", "filter.fwd.test (x", "",
		"filter.fwd.test\x00", "filter\x00.fwd.test", "\x00filter.fwd.test", "filter.fwd.test\x0b",
		"\x0cfilter.fwd.test", "filter.fwd.test\r",
		"\rfilter.fwd.test", "\r\nfilter.fwd.test", "filter.fwd.test\n", "filter.fwd.test\x7f",
		"\x1b[2Jfilter.fwd.test", "(\x00)filter.fwd.test",
		"filter.fwd.test\xa0", "\u00a0filter.fwd.test", "filter.fwd.test\u3000", "\ufefffilter.fwd.test",
		"ﬁlter.fwd.test", "filter。fwd.test", "filter.fwd.teſt",
	} {
		if got := believed(id + says); got != "no" {
			t.Errorf("%q: %s", id, got)
		}
	}
	if got := believed(`"a b"; dkim=pass header.d=bank.example; reason="filter.fwd.test"`); got != "no" {
		t.Error(got)
	}
	a, err := Parse([]byte("XN--BCHER-KVA.example; spf=pass"))
	if err != nil || !a.IsOf("bücher.example") || a.IsOf("") {
		t.Errorf("%+v, %v", a, err)
	}
}

// One odd place makes a field doubtful as a whole: whoever reads the rest guesses.
func TestWhatIsNotToTheLetterIsNotBelieved(t *testing.T) {
	const good = "; dkim=pass header.d=bank.example"
	for _, rest := range []string{
		"; dkim", "; dkim pass", "; dkim=", "; =pass", "; dkim==pass", "; dkim=pass pass", "; none; spf=pass",
		"; nonesense", "; dkim=pa$$", "; dkim=pass header.d", "; dkim=pass header.d bank.example",
		"; dkim=pass .d=x", "; dkim=pass header.=x",
		"; spf=pass (open", "; spf=pass )", `; spf=pass smtp.mailfrom="open`, `; spf=pass smtp.mailfrom=a"b"`,
		`; spf=pass smtp.mailfrom="a"b`,
		`; spf=pass smtp.mailfrom="a"b@example.org`, `; spf=pass smtp.mailfrom=a\@b`,
		"; spf=pass smtp.mailfrom=a\x00b", "; spf=pass\x0b", "; spf=pass\r",
		"; spf=pass smtp.mailfrom=a\rb", "; spf=pass\nsmtp.mailfrom=a", "; dkim/2=pass", "; dkim/=pass",
		"; dkim/x=pass", "; spf=pass smtp.mailfrom=a smtp.mailfrom=b",
		"; spf=pass, dkim=pass", "; spf=pass smtp.mailfrom=a)b", strings.Repeat("; x=none", maxResults+1),
		"; x=none" + strings.Repeat(" (", 10),
	} {
		for _, field := range []string{"filter.fwd.test" + good + rest, "filter.fwd.test" + rest + good} {
			if got := believed(field); got != "no" {
				t.Errorf("%.200q: %s", field, got)
			}
		}
	}
	many := "filter.fwd.test; x=none"
	for i := range maxProps + 1 {
		many += fmt.Sprintf(" a.b%d=c", i)
	}
	if got := believed(many); got != "no" {
		t.Errorf("%d properties: %s", maxProps+1, got)
	}
	if got := believed("filter.fwd.test; x=none" + strings.Repeat(" ", maxField)); got != "no" {
		t.Errorf("64 KiB: %s", got)
	}
	if got := believed("filter.fwd.test" + strings.Repeat(" (((((((((", 1000) +
		strings.Repeat(")))))))))) ", 1000) + "; none"); got != "no" {
		t.Errorf("deep comments without balance: %s", got)
	}
}

// These are fields as real filters write them, with their names changed. Each has to be believed.
// realFields are fields that filters and receivers write, and what of them is read.
var realFields = []struct{ who, field, want string }{
	{"OpenDKIM", "filter.fwd.test;\n\tdkim=pass (2048-bit key; unprotected) header.d=bank.example " +
		"header.i=@bank.example header.a=rsa-sha256 header.s=s1 " +
		"header.b=\"Ab/c+dEf\";\n\tdkim-atps=neutral",
		"dkim=pass header.d=bank.example header.i=@bank.example header.a=rsa-sha256 header.s=s1 " +
			"header.b=Ab/c+dEf dkim-atps=neutral"},
	{"OpenDKIM, a failure", "filter.fwd.test;\n\tdkim=fail reason=\"signature verification failed\" " +
		"(2048-bit key; unprotected) header.d=bank.example header.i=@bank.example header.b=LZG0/J2q",
		"dkim=fail(signature verification failed) header.d=bank.example header.i=@bank.example " +
			"header.b=LZG0/J2q"},
	{"OpenDKIM without a signature", "filter.fwd.test; dkim=none", "dkim=none"},
	{"OpenDMARC", "filter.fwd.test; dmarc=pass (p=none dis=none) header.from=bank.example",
		"dmarc=pass header.from=bank.example"},
	{"OpenDMARC, SPF of its own", "filter.fwd.test; spf=pass smtp.mailfrom=alice+x=y@bank.example",
		"spf=pass smtp.mailfrom=alice+x=y@bank.example"},
	{"OpenDMARC, a null sender", "filter.fwd.test; spf=pass smtp.mailfrom=<>",
		"spf=pass smtp.mailfrom=<>"},
	{"rspamd", "filter.fwd.test;\r\n\tdkim=pass header.d=bank.example header.s=s1 " +
		"header.b=\"Ab/cdEf=\";\r\n\tspf=pass (filter.fwd.test: domain of alice@bank.example " +
		"designates 192.0.2.25 as permitted sender) smtp.mailfrom=alice@bank.example;\r\n\tdmarc=pass " +
		"(policy=reject) header.from=bank.example;\r\n\tarc=pass (\"bank.example:s=arc:i=1\")",
		"dkim=pass header.d=bank.example header.s=s1 header.b=Ab/cdEf= spf=pass " +
			"smtp.mailfrom=alice@bank.example dmarc=pass header.from=bank.example arc=pass"},
	{"rspamd, nothing found", "filter.fwd.test;\r\n\tdkim=none;\r\n\tdmarc=none;\r\n\tspf=none " +
		"(filter.fwd.test: domain of \"\" has no SPF policy when checking 192.0.2.25) " +
		"smtp.helo=mail.bank.example",
		"dkim=none dmarc=none spf=none smtp.helo=mail.bank.example"},
	{"rspamd, failures", "filter.fwd.test;\r\n\tdkim=fail (\"body hash did not verify\") " +
		"header.d=bank.example header.s=s1 header.b=AbcdEfgh;\r\n\tdmarc=fail reason=\"SPF not aligned " +
		"(relaxed), DKIM not aligned (relaxed)\" header.from=bank.example (policy=reject)",
		"dkim=fail header.d=bank.example header.s=s1 header.b=AbcdEfgh dmarc=fail(SPF not aligned " +
			"(relaxed), DKIM not aligned (relaxed)) header.from=bank.example"},
	{"pypolicyd-spf", "filter.fwd.test; spf=pass (sender SPF authorized) smtp.mailfrom=bank.example " +
		"(client-ip=192.0.2.25; helo=mail.bank.example; envelope-from=alice@bank.example; " +
		"receiver=alias@fwd.test)",
		"spf=pass smtp.mailfrom=bank.example"},
	{"pypolicyd-spf, HELO", "filter.fwd.test; spf=Pass (helo) smtp.helo=mail.bank.example " +
		"(client-ip=192.0.2.25; receiver=<UNKNOWN>)", "spf=pass smtp.helo=mail.bank.example"},
	{"dkimpy-milter", "filter.fwd.test; dkim=pass (Good 2048 bit rsa-sha256 signature) " +
		"header.d=bank.example header.i=@bank.example header.a=rsa-sha256",
		"dkim=pass header.d=bank.example header.i=@bank.example header.a=rsa-sha256"},
	{"Microsoft", "filter.fwd.test 1; spf=pass (sender IP is\r\n 192.0.2.25) " +
		"smtp.mailfrom=bank.example; dkim=pass (signature was verified)\r\n " +
		"header.d=bank.example;dmarc=pass action=none header.from=bank.example;compauth=pass\r\n " +
		"reason=100",
		"spf=pass smtp.mailfrom=bank.example dkim=pass header.d=bank.example dmarc=pass " +
			"header.from=bank.example compauth=pass(100)"},
	{"Gmail", "filter.fwd.test;\r\n       dkim=pass header.i=@bank.example header.s=s1 " +
		"header.b=\"Ab/c+dEf\";\r\n       arc=pass (i=1 spf=pass spfdomain=bank.example dkim=pass " +
		"dkdomain=bank.example dmarc=pass fromdomain=bank.example);\r\n       spf=pass (google.com: " +
		"domain of alice@bank.example designates 192.0.2.25 as permitted sender) " +
		"smtp.mailfrom=\"alice=x@bank.example\";\r\n       dmarc=pass (p=REJECT sp=NONE dis=NONE) " +
		"header.from=bank.example;\r\n       dara=pass header.i=@gmail.com",
		"dkim=pass header.i=@bank.example header.s=s1 header.b=Ab/c+dEf arc=pass spf=pass " +
			"smtp.mailfrom=alice=x@bank.example dmarc=pass header.from=bank.example dara=pass " +
			"header.i=@gmail.com"},
	{"Yahoo", "filter.fwd.test;\r\n dkim=pass header.i=@bank.example header.s=s1;\r\n spf=pass " +
		"smtp.mailfrom=bank.example;\r\n dmarc=pass(p=REJECT) header.from=bank.example;",
		"dkim=pass header.i=@bank.example header.s=s1 spf=pass smtp.mailfrom=bank.example dmarc=pass " +
			"header.from=bank.example"},
	{"Exim", "filter.fwd.test;\n\tiprev=pass (mail.bank.example) " +
		"smtp.remote-ip=192.0.2.25;\n\tspf=pass smtp.mailfrom=bank.example;\n\tdkim=pass " +
		"header.d=bank.example header.s=s1 header.a=rsa-sha256;\n\tdmarc=pass header.from=bank.example",
		"iprev=pass smtp.remote-ip=192.0.2.25 spf=pass smtp.mailfrom=bank.example dkim=pass " +
			"header.d=bank.example header.s=s1 header.a=rsa-sha256 dmarc=pass header.from=bank.example"},
	{"authentication_milter", "filter.fwd.test;\r\n    dkim=pass (2048-bit rsa key sha256) " +
		"header.d=bank.example header.i=@bank.example header.b=Ab/cdEf= header.a=rsa-sha256 " +
		"header.s=s1 x-bits=2048;\r\n    dmarc=pass policy.published-domain-policy=reject " +
		"policy.applied-disposition=none (p=reject,d=none) policy.policy-from=p " +
		"header.from=bank.example;\r\n    spf=pass smtp.mailfrom=alice@bank.example " +
		"smtp.helo=mail.bank.example",
		"dkim=pass header.d=bank.example header.i=@bank.example header.b=Ab/cdEf= header.a=rsa-sha256 " +
			"header.s=s1 dmarc=pass policy.published-domain-policy=reject " +
			"policy.applied-disposition=none policy.policy-from=p header.from=bank.example spf=pass " +
			"smtp.mailfrom=alice@bank.example smtp.helo=mail.bank.example"},
	{"RFC 8601 B.2", "filter.fwd.test 1; none", ""},
	{"RFC 8601 B.3", "filter.fwd.test;\r\n               spf=pass smtp.mailfrom=example.net",
		"spf=pass smtp.mailfrom=example.net"},
	{"RFC 8601 B.4", "filter.fwd.test;\r\n auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n " +
		"spf=pass smtp.mailfrom=example.net",
		"auth=pass smtp.auth=sender@example.net spf=pass smtp.mailfrom=example.net"},
	{"RFC 8601 B.6", "filter.fwd.test;\r\n dkim=pass reason=\"good signature\"\r\n " +
		"header.i=@mail-router.example.net;\r\n dkim=fail reason=\"bad signature\"\r\n " +
		"header.i=@newyork.example.com",
		"dkim=pass(good signature) header.i=@mail-router.example.net dkim=fail(bad signature) " +
			"header.i=@newyork.example.com"},
	{"RFC 8601 B.7", "filter.fwd.test (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = " +
		"(wait for it) fail\r\n policy (A dot can go here) . (like that) expired\r\n (this surprised " +
		"me) = (as I wasn't expecting it) 1362471462",
		"dkim=fail policy.expired=1362471462"},
	{"a quoted local part", `filter.fwd.test; spf=pass smtp.mailfrom="a b;c\"(d"@bank.example`,
		`spf=pass smtp.mailfrom=a b;c"(d@bank.example`},
	{"SMTPUTF8", "filter.fwd.test; spf=pass (domain of grüße@bücher.example) " +
		"smtp.mailfrom=grüße@bücher.example", "spf=pass smtp.mailfrom=grüße@bücher.example"},
}

func TestWhatRealFiltersWriteIsBelieved(t *testing.T) {
	for _, c := range realFields {
		if got := believed(" " + c.field + "\r\n"); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.who, got, c.want)
		}
	}
}

func TestOurOwnFieldIsBelieved(t *testing.T) {
	ours := Format("filter.fwd.test", checked)
	want := strings.TrimPrefix(flat(mustParse(t, ours)), "filter.fwd.test ")
	if got := believed(" " + ours + "\r\n"); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func mustParse(t *testing.T, field string) *AuthRes {
	t.Helper()
	a, err := Parse([]byte(field))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A message has one sender, one author and one chain, but many signatures.
func TestContradictionsProveNothing(t *testing.T) {
	for _, c := range []struct{ field, want string }{
		{"spf=pass smtp.mailfrom=bank.example; spf=fail smtp.mailfrom=bank.example",
			"spf=permerror smtp.mailfrom=bank.example spf=permerror smtp.mailfrom=bank.example"},
		{"spf=pass smtp.mailfrom=bank.example; spf=pass smtp.mailfrom=x@evil.example",
			"spf=permerror smtp.mailfrom=bank.example spf=permerror smtp.mailfrom=x@evil.example"},
		{"spf=pass smtp.mailfrom=x@bank.example; spf=pass smtp.mailfrom=Bank.Example",
			"spf=pass smtp.mailfrom=x@bank.example spf=pass smtp.mailfrom=Bank.Example"},
		{"spf=none smtp.mailfrom=bank.example; spf=pass smtp.helo=mail.bank.example",
			"spf=none smtp.mailfrom=bank.example spf=pass smtp.helo=mail.bank.example"},
		{"dmarc=pass header.from=bank.example; dmarc=fail header.from=bank.example",
			"dmarc=permerror header.from=bank.example dmarc=permerror header.from=bank.example"},
		{"dmarc=pass header.from=bank.example; dmarc=pass header.from=evil.example",
			"dmarc=permerror header.from=bank.example dmarc=permerror header.from=evil.example"},
		{"arc=pass; arc=fail", "arc=permerror arc=permerror"},
		{"dkim=pass header.d=a.example; dkim=fail header.d=b.example; dkim=fail header.d=a.example",
			"dkim=pass header.d=a.example dkim=fail header.d=b.example dkim=fail header.d=a.example"},
		{"dkim=pass header.d=a.example header.b=AbCd; dkim=fail header.d=a.example header.b=EfGh",
			"dkim=pass header.d=a.example header.b=AbCd dkim=fail header.d=a.example header.b=EfGh"},
		{"dkim=pass header.d=a.example header.b=AbCd; dkim=fail header.d=a.example header.b=AbCd",
			"dkim=permerror header.d=a.example header.b=AbCd dkim=permerror header.d=a.example " +
				"header.b=AbCd"},
		{"iprev=pass; iprev=fail", "iprev=pass iprev=fail"},
	} {
		if got := believed("filter.fwd.test; " + c.field); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.field, got, c.want)
		}
	}
}

// FuzzParse: what could be believed is taken for a claim, and written again it stays in its place.
func FuzzParse(f *testing.F) {
	for _, s := range outbreaks {
		f.Add("filter.fwd.test; " + s)
		f.Add(s)
	}
	f.Add(
		`filter.fwd.test (x) 1; spf=pass (a "b) smtp.mailfrom="a b"@c; ` +
			`dkim/1 = pass header . d=x action=none`)
	f.Fuzz(func(t *testing.T, field string) {
		a, err := Parse([]byte(field))
		if err != nil {
			return
		}
		if !a.IsOf(a.ID) || !ClaimsToBe([]byte(field), a.ID) {
			t.Errorf("%q: believed as %q, but not taken for a claim to be that", field, a.ID)
		}
		if len(a.Results) > maxResults || strings.ContainsAny(flat(a), "\r\n\x00") {
			t.Errorf("%q", flat(a))
		}
		r := FromTrusted(a)
		wellFormed(t, "mx.example.net", Format("mx.example.net", r), len(r.list()))
	})
}
