package srs

import (
	"errors"
	"strings"
	"testing"
)

func TestEveryAddressComesBackAsItWas(t *testing.T) {
	for _, separator := range []byte("=+-") {
		r := rewriter(t, func(o *Options) { o.Separator = separator })
		for _, address := range []string{
			"Some.Body@Other.Example", "a=b@c.example", "a==b@c.example", "=@c.example", "-x@c.example",
			"x+y-z@c.example", "SRS0@c.example", "srs@c.example", "srs2=x@c.example", "postmaster@localhost",
			"a@_spf.c.example",
			// Quoted strings, RFC 5321 section 4.1.2.
			`"a b"@c.example`, `"a@b"@c.example`, `"a\"b"@c.example`, `"a\\b"@c.example`, `"a=b c"@c.example`,
			`".a"@c.example`, `"a..b"@c.example`,
			`"SRS0=a b"@c.example`,
			// UTF-8, RFC 6531; only ASCII is folded for the hash.
			"müller@bücher.example", "МЮЛЛЕР@пример.example", `"ü ü"@c.example`,
			// Literals, RFC 5321 section 4.1.3.
			"a@[192.0.2.1]", "a@[IPv6:2001:db8::1]",
			// Other forwarders' addresses.
			"SRS0=abcd=AA=x.example=y@c.example", "SRS0+abcd=AA=x.example=y@c.example",
			"SRS0-abcd=AA=x.example=y@c.example", "SRS0=@c.example",
			// No SRS1 address has this form, so it is somebody's name.
			"srs1-fan@c.example", "SRS1=x@c.example", "SRS1=x=y.example@c.example",
			"SRS1=x=y.example=z@c.example", "SRS1=x=y z==w@c.example",
		} {
			there, err := r.Forward(address)
			if err != nil {
				t.Errorf("Forward(%q): %v", address, err)
				continue
			}
			if back, err := r.Reverse(there); err != nil || back != canonical(t, address) {
				t.Errorf("%q → %q → %q, %v", address, there, back, err)
			}
		}
	}
}

// canonical gives an address with the quotes that it needs: it is still the same address (RFC 5321 section
// 4.1.2).
func canonical(t *testing.T, address string) string {
	t.Helper()
	local, host, err := split(address)
	if err != nil {
		t.Fatal(err)
	}
	return quote(local) + "@" + host
}

func TestTheTagIsKnownInAnyCaseOfLetters(t *testing.T) {
	r := rewriter(t, nil)
	for address, want := range map[string]string{
		"srs0-foo@x.example":                "SRS0-foo@x.example",
		"sRs0+Foo=Bar@X.example":            "SRS0+Foo=Bar@X.example",
		"srs1=h=First.example=-foo@x.other": "SRS0-foo@First.example",
	} {
		there, err := r.Forward(address)
		if err != nil || !strings.HasPrefix(there, "SRS1=") {
			t.Errorf("Forward(%q) = %q, %v", address, there, err)
		}
		if back, err := r.Reverse(there); back != want || err != nil {
			t.Errorf("%q → %q → %q, %v; want %q", address, there, back, err, want)
		}
	}
}

func TestTheQuotesOfALocalPartGoAroundTheWholeResult(t *testing.T) {
	r := rewriter(t, nil)
	for address, want := range map[string][2]string{ // what stands before and after the hash
		`"a b"@other.example`:        {`"SRS0=`, `=2W=other.example=a b"@example.com`},
		`"a\"\\b"@other.example`:     {`"SRS0=`, `=2W=other.example=a\"\\b"@example.com`},
		`"a=b"@other.example`:        {`SRS0=`, `=2W=other.example=a=b@example.com`}, // no quotes are needed
		`"a@b"@other.example`:        {`"SRS0=`, `=2W=other.example=a@b"@example.com`},
		`"SRS0=x=y z"@other.example`: {`"SRS1=`, `=other.example==x=y z"@example.com`},
		`a@[192.0.2.1]`:              {`"SRS0=`, `=2W=[192.0.2.1]=a"@example.com`},
	} {
		got, err := r.Forward(address)
		if err != nil || !strings.HasPrefix(got, want[0]) || !strings.HasSuffix(got, want[1]) ||
			len(got) != len(want[0])+4+len(want[1]) {
			t.Errorf("Forward(%q) = %q, %v; want %sHHHH%s", address, got, err, want[0], want[1])
		}
	}
}

func TestALoopOfForwardersLeadsBackToTheSender(t *testing.T) {
	us := rewriter(t, nil)
	other := rewriter(t, func(o *Options) {
		o.Domain, o.Secrets = "other.example", [][]byte{[]byte("theirs")}
	})
	const sender = "test@otherdomain.com"
	address := sender
	for _, hop := range []*Rewriter{us, other, us, other, us} {
		next, err := hop.Forward(address)
		if err != nil {
			t.Fatalf("Forward(%q): %v", address, err)
		}
		address = next
	}
	if got, err := us.Reverse(address); got != sender || err != nil {
		t.Errorf("Reverse(%q) = %q, %v; want %q", address, got, err, sender)
	}
	// the last hop is an SRS1
	if got, err := rewriter(t, at(22)).Reverse(address); !errors.Is(err, ErrForged) {
		t.Errorf("22 days later: %q, %v", got, err)
	}
}

func TestMalformedAddressesAreRefusedInPlainASCII(t *testing.T) {
	r := rewriter(t, nil)
	for _, address := range []string{
		"test", "@", "@example.com", "test@", `""@x.example`, "a@b@", "a\r\nb@x.example", "a\x00b@x.example",
		"a\x7fb@x.example",
		"a\u0085b@x.example", "a@x\n.example", `"a` + "\n" + `b"@x.example`, "a@x y", "a@x,y", "a@x=y",
		"a@.x", "a@x..y", "a@-x", "a@[x", "a@[x=y]",
		"a@[IPv6:fe80::1%eth0]", "<a@x.example>", "a@$myhostname", `"a@x.example`, `a"@x.example`,
		`"a"b"@x.example`, `"a\"@x.example`, `"@x.example`,
		`a\b@x.example`, strings.Repeat("x", 320) + "@x.example", "a@" + strings.Repeat("d", 64) + ".example",
	} {
		forward, errForward := r.Forward(address)
		// The same within our domain, where an attacker would send it.
		reverse, errReverse := r.Reverse("SRS0=vmyz=2W=" + address + "\r\nRCPT TO:<x>@example.com")
		if forward != "" || reverse != "" || !errors.Is(errForward, ErrMalformed) ||
			!errors.Is(errReverse, ErrMalformed) {
			t.Errorf("Forward(%q) = %q, %v; Reverse = %q, %v", address, forward, errForward,
				reverse, errReverse)
			continue
		}
		for _, err := range []error{errForward, errReverse} {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("the error for %q holds more than printable ASCII: %q", address, err)
			}
		}
	}
}
