package filter

import (
	"strings"
	"testing"

	"postmend/dkim"
)

// A verdict is completed only from the one field that it can be about.
func TestATrustedVerdictFindsItsSignature(t *testing.T) {
	const a = "DKIM-Signature: v=1; a=rsa-sha256; d=Bank.example; s=S1; h=from:bcc; bh=YQ==; b=QUJD\r\n " +
		"REVG\r\n"
	const b = "DKIM-Signature: v=1; a=ed25519-sha256; d=bank.example; s=s2; h=from; bh=YQ==; b=QUJDREVH\r\n"
	const other = "DKIM-Signature: v=1; a=rsa-sha256; d=shop.example; s=s1; h=from:to; bh=YQ==; " +
		"b=QUJDREVG\r\n"
	const broken = "DKIM-Signature: mumble\r\n"
	for _, c := range []struct {
		why, header string
		verdict     dkim.Verification
		want        string
	}{
		{"d= alone", a + other + broken, dkim.Verification{Domain: "bank.example"}, "from bcc"},
		{"d= alone, twice", a + b, dkim.Verification{Domain: "bank.example"}, ""},
		{"s=", a + b, dkim.Verification{Domain: "bank.example", Selector: "s1"}, "from bcc"},
		{"a=", a + b, dkim.Verification{Domain: "bank.example", Algorithm: "ed25519-sha256"}, "from"},
		{"b=, over a fold", a + b,
			dkim.Verification{Domain: "bank.example", Signature: "QUJDREVG"}, "from bcc"},
		{"b= of both", a + b, dkim.Verification{Domain: "bank.example", Signature: "QUJD"}, ""},
		{"the same field twice", a + a, dkim.Verification{Domain: "bank.example", Selector: "s1"}, ""},
		{"another b=", a, dkim.Verification{Domain: "bank.example", Signature: "QUJDREVH"}, ""},
		{"another domain", a, dkim.Verification{Domain: "mail.bank.example"}, ""},
		{"no domain", broken, dkim.Verification{}, ""},
		{"no signature", "From: a@bank.example\r\n", dkim.Verification{Domain: "bank.example"}, ""},
		{"as many as are read", strings.Repeat(b, maxIdentified-1) + a,
			dkim.Verification{Domain: "bank.example", Selector: "s1"}, "from bcc"},
		{"more than are read", a + strings.Repeat(b, maxIdentified),
			dkim.Verification{Domain: "bank.example", Selector: "s1"}, ""},
	} {
		verdicts := []dkim.Verification{c.verdict}
		header, _ := dkim.SplitHeader([]byte(c.header))
		identify(header, verdicts)
		if got := strings.Join(verdicts[0].SignedNames, " "); got != c.want {
			t.Errorf("%s: signed names %q, want %q", c.why, got, c.want)
		}
	}
}

func TestAStrayCRIsFound(t *testing.T) {
	long := strings.Repeat("line\r\n", 1<<20) // more than what stays in memory
	for text, want := range map[string]bool{"A: b\n\nc\n": false, "A: b\r\n\r\nc\r\n": false,
		"A: b\r\r\n\r\nc\r\r\n": false,
		"A: b\rc\n\nd\n":        true, "A: b\n\nc\rd\n": true, "A: b\n\n" + long: false,
		"A: b\n\n" + long + "c\rd\n": true} {
		if got, err := spooled(t, text).HasStrayCR(); got != want || err != nil {
			t.Errorf("%.20q, %d octets: %t, %v", text, len(text), got, err)
		}
	}
}
