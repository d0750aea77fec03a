package reinject

import (
	"net/mail"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAddressesAreQuotedWhereSMTPWantsItAndLeftAloneElsewhere(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"bob@example.net", "bob@example.net"},
		{"-bob@example.net", "-bob@example.net"},
		{"postmaster", "postmaster"},
		{"SRS0=abcd=TT=example.com=alice@srs.example.org", "SRS0=abcd=TT=example.com=alice@srs.example.org"},
		{"a+b/c!#$%&'*?^_`{|}~@example.net", "a+b/c!#$%&'*?^_`{|}~@example.net"},
		{"a b@example.net", `"a b"@example.net`},
		{`"a b"@example.net`, `"a b"@example.net`},
		{`"a\"b@c"@example.net`, `"a\"b@c"@example.net`},
		{"a@b@example.net", `"a@b"@example.net`},
		{`a"b@example.net`, `"a\"b"@example.net`},
		{`a\b@example.net`, `"a\\b"@example.net`},
		{`"a"b"@example.net`, `"\"a\"b\""@example.net`}, // ends before its end: no quoted string
		{`"a\"@example.net`, `"\"a\\\""@example.net`},   // does not end
		{".a@example.net", `".a"@example.net`},
		{"a..b@example.net", `"a..b"@example.net`},
		{"a.@example.net", `"a."@example.net`},
		{"a>b<c@example.net", `"a>b<c"@example.net`},
		{"a,b;c:d(e)@example.net", `"a,b;c:d(e)"@example.net`},
		{"two words", `"two words"`},
		{"bob@[192.0.2.1]", "bob@[192.0.2.1]"},
		{"bob@[IPv6:2001:db8::1]", "bob@[IPv6:2001:db8::1]"},
		{"jörg@bücher.example", "jörg@bücher.example"},
		{"j\xf6rg@example.net", "j\xf6rg@example.net"},
		{"bob@under_score.example.", "bob@under_score.example."},
	} {
		if got, err := mailbox(tc.in); got != tc.want || err != nil {
			t.Errorf("%q becomes %q, %v, want %q", tc.in, got, err, tc.want)
		}
	}
}

// FuzzMailbox takes the standard library's parser as a stranger: what it reads must be the address that was
// meant.
func FuzzMailbox(f *testing.F) {
	for _, s := range []string{"bob@example.net", `"a b"@example.net`, `a"\@b@example.net`, "a>\r\nDATA@b",
		"ü@ü", "x", `"\"`, "a@[1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, address string) {
		got, err := mailbox(address)
		if err != nil {
			return
		}
		if strings.ContainsAny(got, "\r\n\x00") || utf8.ValidString(got) != utf8.ValidString(address) ||
			len(got) > 2*maxAddress+2 {
			t.Fatalf("%q becomes %q", address, got)
		}
		if again, err := mailbox(got); err == nil && again != got {
			t.Fatalf("%q becomes %q, and that becomes %q", address, got, again)
		}
		local, domain, hasDomain := splitAddress(got)
		if !hasDomain || !utf8.ValidString(got) || strings.Trim(domain, "abcdefghijklmnopqrstuvwxyz") != "" ||
			local == `""` {
			return // beyond what net/mail takes
		}
		meant := got
		if got != address { // it was quoted, so it came unquoted
			meant = address
		}
		parsed, err := mail.ParseAddress("<" + got + ">")
		if err != nil {
			t.Fatalf("%q becomes %q, which net/mail refuses: %v", address, got, err)
		}
		if got != address && parsed.Address != meant {
			t.Fatalf("%q becomes %q, which net/mail reads as %q", address, got, parsed.Address)
		}
	})
}

func TestXtextEncodesWhatRFC3461SaysAndNothingElse(t *testing.T) {
	// RFC 3461 section 4: all of "!" to "~" but "+" and "=" stands for itself.
	if got, want := xtext("a+b=c d\r\n\x00ü~!"), "a+2Bb+3Dc+20d+0D+0A+00+C3+BC~!"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// RFC 6533 section 3: HEXPOINT has two to six digits, none of them a leading zero beyond two.
	if got, want := utf8xtext("a+b=c\\d e"+"\u00e9\u0416\u4f60\U0001f600"),
		`a\x{2B}b\x{3D}c\x{5C}d\x{20}e\x{E9}\x{416}\x{4F60}\x{1F600}`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestXFORWARDTellsWhatTheServerAskedForWithinItsLimits(t *testing.T) {
	const all = "NAME ADDR PORT PROTO HELO IDENT SOURCE"
	long := strings.Repeat("x", 255)
	for _, tc := range []struct {
		name      string
		client    Client
		announced string
		want      []string
	}{
		{"nothing announced", stranger, "", nil},
		{"only what was announced", stranger, "ADDR HELO UNHEARD-OF",
			[]string{"XFORWARD ADDR=192.0.2.1", "XFORWARD HELO=helo.example.com"}},
		{"nothing known", Client{Name: "unknown"}, all, []string{
			"XFORWARD NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE]",
			"XFORWARD PROTO=[UNAVAILABLE] HELO=[UNAVAILABLE] IDENT=[UNAVAILABLE] SOURCE=REMOTE"}},
		{"local submission", Client{Local: true, Ident: "ID"}, "IDENT SOURCE",
			[]string{"XFORWARD IDENT=ID SOURCE=LOCAL"}},
		{"IPv6 as pipe(8) writes it", Client{Address: "IPv6:2001:DB8::1"}, "ADDR",
			[]string{"XFORWARD ADDR=IPV6:2001:db8::1"}},
		{"IPv6 plain", Client{Address: "2001:db8::1"}, "ADDR", []string{"XFORWARD ADDR=IPV6:2001:db8::1"}},
		{"IPv4 within IPv6", Client{Address: "::ffff:192.0.2.1"}, "ADDR",
			[]string{"XFORWARD ADDR=192.0.2.1"}},
		{"zone", Client{Address: "fe80::1%eth0"}, "ADDR", []string{"XFORWARD ADDR=IPV6:fe80::1"}},
		{"what is no address or port", Client{Address: "1.2.3.4\r\nRSET", Port: "70000"}, "ADDR PORT",
			[]string{"XFORWARD ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE]"}},
		{"hostile HELO", Client{HELO: "a b\r\nDATA=+"}, "HELO",
			[]string{"XFORWARD HELO=a+20b+0D+0ADATA+3D+2B"}},
		{"value too long", Client{HELO: long + "x", Name: long}, "NAME HELO",
			[]string{"XFORWARD NAME=" + long, "XFORWARD HELO=[UNAVAILABLE]"}},
		{"line too long", Client{Protocol: long, HELO: long, Ident: "ID"}, "PROTO HELO IDENT",
			[]string{"XFORWARD PROTO=" + long, "XFORWARD HELO=" + long + " IDENT=ID"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, c := range tc.client.xforward(map[string]string{"XFORWARD": tc.announced}) {
				got = append(got, c.line)
				if len(c.line)+2 > 512 || !c.optional {
					t.Errorf("%d octets, optional %v: %s", len(c.line)+2, c.optional, c.line)
				}
			}
			if strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}
