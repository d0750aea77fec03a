package authn

import (
	"context"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"postmend/dkim"
)

var client = netip.MustParseAddr("192.0.2.1")

func TestCheckAsksEachNameOnceAndSideBySide(t *testing.T) {
	s := serve(t, "example.org TXT v=spf1 ip4:192.0.2.1 -all\n_dmarc.example.org TXT v=DMARC1; p=none; "+
		"np=reject\nsilent.example DROP")
	r := New(s.Addr())
	verify := func(ctx context.Context) []dkim.Verification {
		r.LookupTXT(ctx, "s._domainkey.example.org.")
		return []dkim.Verification{{Status: dkim.PermError, Domain: "example.org"}}
	}
	got := Check(t.Context(), r,
		Request{ClientIP: client, Sender: "alice@example.org", Authors: []string{"example.org"}}, verify, nil)
	if got.SPF.Status != Pass || got.DMARC.Status != Pass || got.DMARC.Policy != PolicyNone ||
		got.Temporary() {
		t.Errorf("%+v", got)
	}
	want := []string{"_dmarc.example.org. TXT", "_dmarc.org. TXT", "example.org. TXT",
		"s._domainkey.example.org. TXT"}
	queries := s.Queries()
	slices.Sort(queries)
	if !slices.Equal(queries, want) {
		t.Errorf("%q", queries)
	}
}

// The policy is being asked for while signatures are verified: else this would never end.
func TestThePolicyIsLookedUpWhileSignaturesAreVerified(t *testing.T) {
	s := serve(t, "_dmarc.example.org TXT v=DMARC1; p=reject")
	verify := func(context.Context) []dkim.Verification {
		for len(s.Queries()) < 2 && t.Context().Err() == nil {
			runtime.Gosched()
		}
		return signed("example.org")
	}
	got := Check(t.Context(), New(s.Addr()), Request{Authors: []string{"example.org"}}, verify, nil)
	if got.DMARC.Status != Pass || got.SPF.Status != None {
		t.Errorf("%+v", got)
	}
}

func TestDNSThatNeverAnswersIsTemporary(t *testing.T) {
	s := serve(t, "example.org DROP\n_dmarc.example.org DROP")
	ctx, end := context.WithCancel(t.Context())
	verify := func(context.Context) []dkim.Verification {
		end()
		return nil
	}
	got := Check(ctx, New(s.Addr()),
		Request{ClientIP: client, Sender: "alice@example.org", Authors: []string{"example.org"}}, verify, nil)
	if got.SPF.Status != TempError || got.DMARC.Status != TempError || !got.Temporary() {
		t.Errorf("%+v", got)
	}
}

func TestTemporaryMeansThatTheOutcomeCouldChange(t *testing.T) {
	for _, c := range []struct {
		why  string
		d    DMARC
		want bool
	}{
		{"DMARC not known", DMARC{Status: TempError}, true},
		{"fails, whatever DNS says", DMARC{Status: Fail, Policy: PolicyReject}, false},
		{"whether a signature survives is not known",
			DMARC{Status: Pass, Policy: PolicyReject, AlignedBy: []string{"spf"},
				Pending: []string{"dkim d=a"}}, true},
		{"under no policy it does not matter",
			DMARC{Status: Pass, Policy: PolicyNone, AlignedBy: []string{"spf"},
				Pending: []string{"dkim d=a"}}, false},
		{"another signature holds",
			DMARC{Status: Pass, Policy: PolicyReject, AlignedBy: []string{"spf", "dkim d=b"},
				Pending: []string{"dkim d=a"}}, false},
	} {
		if got := (Results{DMARC: c.d}).Temporary(); got != c.want {
			t.Errorf("%s: %v", c.why, got)
		}
	}
}

func TestTrustedResultsSaveLookups(t *testing.T) {
	const id = "mx.example.net; "
	for _, c := range []struct {
		why, sender, field string
		want               Status
		asked              string // beside the policy
	}{
		{"SPF passed there", "alice@example.org", "spf=pass smtp.mailfrom=alice@example.org", Pass, ""},
		{"SPF failed there", "alice@example.org", "spf=fail smtp.mailfrom=alice@example.org", Fail, ""},
		{"a signature held there", "alice@example.org", "spf=none smtp.mailfrom=alice@example.org; " +
			"dkim=pass header.d=mail.example.org", Pass, ""},
		{"only DMARC is told", "alice@example.net", "dmarc=pass header.from=example.org", Pass,
			"example.net. TXT"},
		{"only DMARC is told, of another domain", "alice@example.net", "dmarc=pass header.from=example.com",
			Fail, "example.net. TXT"},
		{"DMARC is told, but the rest does not bear it out", "alice@example.net",
			"dmarc=pass header.from=example.org; spf=pass smtp.mailfrom=example.net", Fail, ""},
		{"SPF had trouble there", "alice@example.org", "spf=temperror smtp.mailfrom=alice@example.org", Pass,
			"example.org. TXT"},
		{"HELO is not MAIL FROM (RFC 9989 4.4.2)", "alice@example.net", "spf=pass smtp.helo=mail.example.org",
			Fail, "example.net. TXT"},
		{"HELO is, for the null sender", "", "spf=pass smtp.helo=mail.example.org", Pass, ""},
		{"nothing is told", "alice@example.org", "none", Pass, "example.org. TXT"},
	} {
		s := serve(t, "example.org TXT v=spf1 ip4:192.0.2.1 -all\nexample.net TXT v=spf1 ip4:192.0.2.1 "+
			"-all\n_dmarc.example.org TXT v=DMARC1; p=reject")
		field, err := Parse([]byte(id + c.field))
		if err != nil {
			t.Fatal(err)
		}
		trusted := FromTrusted(field)
		req := Request{ClientIP: client, Sender: c.sender, Authors: []string{"example.org"},
			Trusted: &trusted}
		got := Check(t.Context(), New(s.Addr()), req, nil, nil)
		if got.DMARC.Status != c.want || got.DMARC.Policy != PolicyReject {
			t.Errorf("%s: %+v", c.why, got)
		}
		asked := slices.DeleteFunc(s.Queries(),
			func(q string) bool { return strings.HasPrefix(q, "_dmarc.") })
		if strings.Join(asked, " ") != c.asked {
			t.Errorf("%s: asked %q", c.why, asked)
		}
	}
}
