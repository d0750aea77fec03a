package authn

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"postmend/dkim"
	"postmend/dkim/arc"
	"postmend/tests/peer"
)

var checked = Results{
	SPF: SPF{Status: Pass, Identity: "mailfrom", Domain: "bounces.example.org"},
	DKIM: []dkim.Verification{
		{Status: dkim.Pass, Domain: "example.org", Identity: "@example.org", Selector: "2026a",
			Algorithm: "rsa-sha256", Signature: "abc/+d=efgh"},
		{Status: dkim.Fail, Reason: "body hash did not verify", Domain: "provider.example",
			Identity: "alice@provider.example", Selector: "s1", Algorithm: "ed25519-sha256",
			Signature: "ABCDEFGHIJ"},
	},
	DMARC: DMARC{Status: Pass, Domain: "example.org", Policy: PolicyReject},
	ARC:   ARC{arc.Result{Status: dkim.Pass, OldestPass: new(int)}, netip.MustParseAddr("2001:db8::1")},
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		results Results
		want    string
	}{
		{checked, "mx.example.net;\r\n\tspf=pass smtp.mailfrom=bounces.example.org;\r\n" +
			"\tdkim=pass header.d=example.org header.i=@example.org " +
			"header.s=2026a\r\n\theader.a=rsa-sha256 header.b=\"abc/+d=e\";\r\n\tdkim=fail reason=\"body " +
			"hash did not verify\" header.d=provider.example\r\n\theader.i=alice@provider.example " +
			"header.s=s1 header.a=ed25519-sha256\r\n\theader.b=ABCDEFGH;\r\n\tdmarc=pass " +
			"header.from=example.org policy.dmarc=reject;\r\n\tarc=pass header.oldest-pass=0 " +
			"smtp.remote-ip=\"2001:db8::1\""},
		{Results{}, "mx.example.net; none"},
		{Results{SPF: SPF{Status: None, Identity: "helo", Domain: "mx.example.com", Reason: "no record"},
			DMARC: DMARC{Status: None, Domain: "example.com"},
			ARC: ARC{arc.Result{Status: dkim.Fail, Reason: "set 1 is not whole"},
				netip.MustParseAddr("192.0.2.1")}},
			"mx.example.net;\r\n\tspf=none smtp.helo=mx.example.com;\r\n\tdkim=none;\r\n\tdmarc=none " +
				"header.from=example.com;\r\n\tarc=fail reason=\"set 1 is not whole\" " +
				"smtp.remote-ip=192.0.2.1"},
	} {
		if got := Format("mx.example.net", c.results); got != c.want {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
	}
}

// What comes back is what was written, as far as the field tells it.
func TestFormatAndParseAgree(t *testing.T) {
	a, err := Parse([]byte(" " + Format("MX.example.net", checked)))
	if err != nil || a.ID != "mx.example.net" {
		t.Fatalf("%+v, %v", a, err)
	}
	got, want := FromTrusted(a), checked
	want.DKIM = slices.Clone(checked.DKIM)
	for i := range want.DKIM {
		want.DKIM[i].Signature = want.DKIM[i].Signature[:8]
	}
	if got.ARC.OldestPass == nil || *got.ARC.OldestPass != 0 {
		t.Error("header.oldest-pass got lost")
	}
	got.ARC.OldestPass = want.ARC.OldestPass // pointers
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// flat shows a field in a line.
func flat(a *AuthRes) string {
	text := a.ID
	for _, r := range a.Results {
		text += " " + r.Method + "=" + string(r.Status)
		if r.Reason != "" {
			text += "(" + r.Reason + ")"
		}
		for _, p := range r.Props {
			text += " " + p.Type + "." + p.Name + "=" + p.Value
		}
	}
	return text
}

func TestForgedFieldsAreRecognised(t *testing.T) {
	for field, want := range map[string]bool{
		"mx.example.org; spf=pass":                                 true,
		" MX.Example.ORG; spf=pass":                                true,
		"\r\n\tmx.example.org 1; none":                             true,
		"(mx.example.com) mx.example.org (x) ; spf=pass":           true,
		"(a(b(c)))\"mx.example.org\"; spf=pass":                    true,
		"\"mx.\\example.org\"; spf=pass":                           true,
		"mx.example.org.; spf=pass":                                true,
		"mx.example.org(;)":                                        true,
		"mx.example.org":                                           true,
		"mx.exa\x00mple.org; spf=pass":                             true,
		"(mx.example.org; spf=pass":                                true,
		"\"mx.example.org; spf=pass":                               true,
		"; mx.example.org; spf=pass":                               true,
		"mx.example.org/1; spf=pass":                               true,
		"mx.example.org\x0b; spf=pass":                             true,
		"\u00a0mx.example.org; spf=pass":                           true,
		"mx.example.org:; spf=pass":                                true,
		"[mx.example.org]; spf=pass":                               true,
		"mx.example.com; spf=pass smtp.mailfrom=mx.example.org":    false,
		"(mx.example.org) mx.example.com; spf=pass":                false,
		"amx.example.org; spf=pass":                                false,
		"mx.example.org.example.com; spf=pass":                     false,
		"; spf=pass":                                               false,
		"":                                                         false,
		"mx.example.com (\"mx.example.org\") ; arc=pass (unclosed": false,
	} {
		if got := ClaimsToBe([]byte(field), "mx.example.org"); got != want {
			t.Errorf("%q: %v", field, got)
		}
	}
	if !ClaimsToBe([]byte("("+strings.Repeat("x", 2*maxField)+") mx.example.org; spf=pass"),
		"mx.example.org") {
		t.Error("a long comment hides the name")
	}
	if !ClaimsToBe([]byte("XN--BCHER-KVA.example; none"), "bücher.example") {
		t.Error("an internationalised name is not recognised")
	}
}

func TestTrustedFieldsBecomeResults(t *testing.T) {
	a, err := Parse([]byte("mx; spf=hardfail smtp.helo=h.example; spf=pass " +
		"smtp.mailfrom=<Alice@Example.org>; spf=fail smtp.helo=h.example; dkim=none; dkim=pass " +
		"header.i=@Sub.example.org; dkim=bestguess header.d=x.example; dmarc=bestguesspass " +
		"header.from=Example.org policy.dmarc=Quarantine; arc=temperror smtp.remote-ip=192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	r := FromTrusted(a)
	if r.SPF != (SPF{Status: Pass, Identity: "mailfrom", Domain: "example.org"}) {
		t.Errorf("%+v", r.SPF)
	}
	if len(r.DKIM) != 1 || r.DKIM[0].Domain != "" || r.DKIM[0].Identity != "@Sub.example.org" ||
		r.DKIM[0].Status != dkim.Pass {
		t.Errorf("%+v", r.DKIM)
	}
	if r.ARC.Status != "" {
		t.Errorf("what was not known about the chain is believed: %+v", r.ARC)
	}
	if r.DMARC.Status != None || r.DMARC.Domain != "example.org" || r.DMARC.Policy != PolicyQuarantine {
		t.Errorf("%+v", r.DMARC)
	}
}

// hostile results have in every text what could lead out of its place.
func hostile(s string) (string, Results) {
	return s, Results{
		SPF: SPF{Status: Status(s), Identity: s, Domain: s, Reason: s},
		DKIM: []dkim.Verification{{Status: dkim.Status(s), Reason: s, Domain: s, Selector: s, Identity: s,
			Algorithm: s, Signature: s}},
		DMARC: DMARC{Status: Status(s), Domain: s, Policy: Policy(s), Reason: s},
		ARC:   ARC{Result: arc.Result{Status: dkim.Status(s), Reason: s}},
	}
}

var outbreaks = []string{"a\r\nBcc: x@example.org\r\n\r\n", "a; dmarc=pass", `a" b; dmarc=pass "`, `\`,
	`a\" ; x=y`, "a\x00b", "a (b", "a)b", "é\xff", strings.Repeat("x ", 3000), "", " ", "=", "@", "a@b@c",
	"none", "a@[192.0.2.1]"}

// wellFormed checks what a field's value must be, whatever went in.
func wellFormed(t *testing.T, id, value string, results int) {
	t.Helper()
	for i, line := range strings.Split(value, "\r\n") {
		if strings.ContainsFunc(line, func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }) ||
			len(line) > 998 || i > 0 && strings.Trim(line, " \t") == "" ||
			i > 0 && line[0] != '\t' {
			t.Errorf("line %d: %q", i, line)
		}
	}
	if id == "" {
		return
	}
	a, err := Parse([]byte(value))
	if err != nil || a.ID != id || len(a.Results) != results {
		t.Errorf("%q: %d results are read as %+v, %v", value, results, a, err)
	}
}

func TestHostileValuesStayInTheirPlace(t *testing.T) {
	for _, s := range outbreaks {
		id, results := hostile(s)
		wellFormed(t, "", Format(id, results), 0)
		results.SPF.Status, results.DMARC.Status, results.ARC.Status = Fail, Fail, dkim.Fail
		wellFormed(t, "mx.example.net", Format("mx.example.net", results), 4)
	}
}

func FuzzFormat(f *testing.F) {
	for _, s := range outbreaks {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, results := hostile(s)
		results.SPF.Status, results.DMARC.Status, results.ARC.Status = Fail, Fail, dkim.Fail
		wellFormed(t, "mx.example.net", Format("mx.example.net", results), 4)
		Format(s, results)
	})
}

// pythonAuthres prints what python3-authres reads, in the form of flat.
const pythonAuthres = `
import authres, json, sys
for value in json.load(sys.stdin):
    a = authres.AuthenticationResultsHeader.parse("Authentication-Results: " + value)
    text = a.authserv_id
    for r in a.results:
        text += " " + r.method + "=" + r.result
        if r.reason: text += "(" + r.reason + ")"
        for p in r.properties: text += " " + p.type + "." + p.name + "=" + p.value
    print(text)
`

func TestOthersReadWhatIsWritten(t *testing.T) {
	python := peer.Need(t, "python3")
	if exec.Command(python, "-c", "import authres").Run() != nil {
		peer.Missing(t, "python3-authres is not installed (make peers)")
	}
	values := []string{Format("mx.example.net", checked), Format("mx.example.net", Results{})}
	want := []string{"", "mx.example.net"}
	for _, s := range []string{"a; dmarc=pass", `a" b; dmarc=pass "`, `a\b`, "a (b", "a@b@c", "=",
		"x y@example.org"} {
		values = append(values,
			Format("mx.example.net",
				Results{SPF: SPF{Status: Fail, Identity: "mailfrom", Domain: s, Reason: s}}))
		// python3-authres leaves quoted pairs quoted
		asIs := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
		want = append(want, fmt.Sprintf("mx.example.net spf=fail(%s) smtp.mailfrom=%s dkim=none", asIs, asIs))
	}
	a, err := Parse([]byte(values[0]))
	if err != nil {
		t.Fatal(err)
	}
	want[0] = flat(a)
	input, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", pythonAuthres)
	cmd.Stdin = strings.NewReader(string(input))
	output, err := cmd.CombinedOutput()
	if got := strings.Split(strings.TrimSpace(string(output)), "\n"); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n got %q\nwant %q", err, got, want)
	}
}
