package author

import (
	"math/rand/v2"
	"mime"
	netmail "net/mail"
	"slices"
	"strings"
	"testing"
	"unicode"

	"postmend/dkim"
	"postmend/filter/domain"
)

// named rewrites From: with a form of the name, and gives the decoded name that Go's parser reads. It checks
// that this parser finds the new address alone.
func named(t testing.TB, in dkim.Header, form, address string) string {
	t.Helper()
	name, err := ParseName(form)
	if err != nil {
		t.Fatal(err)
	}
	out, err := Rewrite(in, NewAuthor{address, name}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range out {
		if field.Is("From") {
			checkLines(t, field)
			list, err := netmail.ParseAddressList(dkim.Unfold(field.Value()))
			if err != nil || len(list) != 1 || list[0].Address != address {
				t.Fatalf("%q: %v, %v", field, list, err)
			}
			return list[0].Name
		}
	}
	t.Fatalf("no From: in %q", out)
	return ""
}

func TestTheNameOfTheNewAuthorHasTheFormThatIsConfigured(t *testing.T) {
	const from = "From: Alice Liddell <alice@mail.bank.example>\r\n"
	for _, c := range []struct{ form, from, want string }{
		{DefaultName, from, "Alice Liddell via example.org"},
		{"{name}", from, "Alice Liddell"},
		{"{name} ({address})", from, "Alice Liddell (alice at mail.bank.example)"},
		{"{local}, by {alias}", from, "alice, by alias at example.org"},
		{"[{domain}] {name}", from, "[example.org] Alice Liddell"},
		{"Weitergeleitet für {name}", from, "Weitergeleitet für Alice Liddell"},
		{"{name} · {domain}", "From: =?utf-8?q?J=C3=B6rg?= <j@bank.example>\r\n", "Jörg · example.org"},
		{"Forwarded mail", from, "Forwarded mail"},
		{"  {name}   via  {domain} ", from, "Alice Liddell via example.org"},
		{"{name}", "From: alice@bank.example\r\n", "alice at bank.example"},
		{"{address}", "From: nothing\r\n", "unknown sender"},
		{"{name} ({address})", "From: a@bank.example, b@shop.example\r\n",
			"a at bank.example et al. (a at bank.example)"},
		{"{address} and {domain}", "Subject: x\r\n", "unknown sender and example.org"},
	} {
		if got := named(t, header(c.from), c.form, alias); got != c.want {
			t.Errorf("%q of %q: %q, want %q", c.form, c.from, got, c.want)
		}
	}
	// The usual form is the same whether it is written or not.
	for _, c := range fromCases {
		in := header(c.header)
		written, _ := ParseName(DefaultName)
		out, err := Rewrite(in, NewAuthor{alias, written}, false)
		if err != nil || joined(out) != joined(rewritten(t, in, alias)) {
			t.Errorf("%s: %v, %q", c.why, err, out)
		}
	}
}

func TestAFormThatCouldShowAnotherAddressIsRefused(t *testing.T) {
	for form, want := range map[string]string{
		"":                                "no letter",
		"- {":                             "{ is not one of {name}",
		"{nmae}":                          "{nmae} is not one of {name}, {address}",
		"{name":                           "is not one of",
		"{name {domain}":                  "is not one of",
		"{name}}":                         "cannot have",
		"{name} and {name}":               "occurs twice",
		"ceo@bank.example":                "cannot have",
		"ceo＠bank.example":                "cannot have",
		"ceo﹫bank.example":                "cannot have",
		"{name} <ceo>":                    "cannot have",
		"{name} ＜ceo＞":                    "cannot have",
		"{name} ‹ceo›":                    "cannot have",
		`"{name}"`:                        "cannot have",
		`{name}\`:                         "cannot have",
		"=?utf-8?q?x?= {name}":            "cannot have",
		"{name}\r\nBcc: x":                "cannot have",
		"{name}\u202e":                    "cannot have",
		"{name}\u200b{domain}":            "cannot have",
		"{name}\x00":                      "cannot have",
		"{name} \xff":                     "cannot have",
		"ceo at bank.evil.example {name}": "not the author's",
		"ceo ａｔ evil．example {name}":      "not the author's",
		"{local} at {domain}":             "not the author's",
		"{local} (at) {domain}":           "not the author's",
		"{address}.{domain}":              "not the author's",
		"{local}.{alias}":                 "not the author's",
		"x{alias}":                        "not the author's",
		"{alias}.evil.example":            "not the author's",
		"---":                             "no letter",
		strings.Repeat("x", 300):          "300 characters",
	} {
		if name, err := ParseName(form); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want an error that says %q", form, name, err, want)
		}
	}
}

// Each is how people write an address where they may not, or what a mail program may show as one.
func TestANameThatReadsAsAForeignAddressIsReplaced(t *testing.T) {
	for _, text := range []string{
		"ceo at bank.example", "ceo [at] bank [dot] example", "ceo (AT) bank (DOT) example",
		"ceo_at_bank.example",
		"ceo at bank dot example", "ceo{at}bank{punkt}example", "ceo arroba bank punto example",
		"ceo-at-bank.example", "ceo*at*bank.example", "ceo at 'bank.example'", "ceo at BANK.EXAMPLE",
		"ceo@bank.example", "ceo @ bank . example", "ceo＠bank.example", "ceo﹫bank.example",
		"ceoⓐbank.example",
		"ceo ⓐⓣ bank.example", "ceo🅐bank.example", "ceo аt bank.example", "ceo αт bank.example",
		"ceo ᴀᴛ bank.example", "ceo a\u0332t bank.example", "ceo ａｔ bank．example", "ceo at bank·example",
		"ceo at bank։example", "ceo&#64;bank.example", "ceo&#x40;bank&period;example",
		"ceo&commat;bank.example",
		"ceo=40bank.example", "ceo%40bank.example", "ceo at bаnk.example",
	} {
		from := "From: " + mime.QEncoding.Encode("utf-8", text+"\u200b") + " <x@evil.example>\r\n"
		if got := named(t, header(from), DefaultName, alias); got != "x at evil.example via example.org" {
			t.Errorf("%q: %q", text, got)
		}
	}
	for _, text := range []string{
		"Alice from shop.example", "Booking.com", "J.R.R. Tolkien", "Dr. A. at Work", "News at 10.30",
		"R&D at Work", "Dot at example", "ceo at mail.evil.example", "ceo [at] evil [dot] example",
	} {
		from := "From: " + mime.QEncoding.Encode("utf-8", text+"\u200b") + " <x@evil.example>\r\n"
		if got := named(t, header(from), DefaultName, alias); got != text+" via example.org" {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// Parts that are harmless alone must not read as an address together: of a stranger, or of another user in
// the domain of the new address.
func TestNoFormShowsAnAddressThatIsNeitherTheOldNorTheNew(t *testing.T) {
	forms := []string{"{name} {domain}", "{domain} {name}", "{local} {domain}", "{name} {alias}",
		"{alias} {name}",
		"{name} {local} {domain}", "{name}.{domain}", "{address} {name}", "{name}: {address} ({alias})",
		"{name}{domain}"}
	attacks := []string{
		`"ceo at" <x@evil.example>`, `"ceo @" <x@evil.example>`, `"ceo (at)" <x@evil.example>`,
		`"ceo ａｔ" <x@evil.example>`,
		`"ceo ⓐ" <x@evil.example>`, `"ceo at ." <x@evil.example>`, `"ceo at ‥" <x@evil.example>`,
		`"ceo at …" <x@evil.example>`,
		`".victim.example" <x@evil.example>`, `"at victim.example ceo" <x@evil.example>`,
		`". victim.example" <x@evil.example>`,
		`"ceo at" <at@evil.example>`, `ceo <"ceo at"@evil.example>`, `ceo <"ceo@"@evil.example>`,
		`ceo <at@evil.example>`,
		`"ceo at .victim.example" <x@evil.example>`, `"ceo at . victim.example" <x@evil.example>`,
		`"ceo at ‥victim.example" <x@evil.example>`, `"ceo at victim　.example" <x@evil.example>`,
		`"ceo(at)victim.example" <x@evil.example>`, `"ceo at victim｡example" <x@evil.example>`,
		`"alias at example.org" <x@evil.example>`, `"boss at example.org" <x@evil.example>`,
		"=?utf-8?q?ceo_a=E2=80=8Bt?= <x@evil.example>", "=?utf-8?q?ceo_at_?= <x@evil.example>",
		"=?utf-8?b?PT91dGYtOD9xP2Nlbz1AeD89?= <x@evil.example>", `"=?utf-8?q?ceo=40?=" <x@evil.example>`,
		`"=" <"?utf-8?q?ceo=40victim.example?="@evil.example>`,
	}
	w := fromWriter{rand.New(rand.NewPCG(3, 4))}
	for range 500 {
		attacks = append(attacks, w.list())
	}
	for _, attack := range attacks {
		in := header("From: " + attack + "\r\n")
		var old authors
		old.read(dkim.Unfold(in[0].Value()))
		for _, form := range forms {
			name := named(t, in, form, "info@example.org")
			again, _ := new(mime.WordDecoder).DecodeHeader(name)
			if again != name || strings.ContainsAny(name, "@＠﹫<>\"\\\r\n\x00") {
				t.Errorf("%q of %q: %q", form, attack, name)
			}
			if i := strings.IndexFunc(name, func(r rune) bool { return unicode.Is(unicode.Cf, r) }); i >= 0 {
				t.Errorf("%q of %q has an invisible character: %+q", form, attack, name)
			}
			for _, match := range addressLike.FindAllStringSubmatch(name, -1) {
				claimed := domain.Canonical(match[1])
				isOld := slices.ContainsFunc(old.list[:min(len(old.list), 1)], func(a oldAuthor) bool {
					return strings.Contains(a.domain, claimed) || registered(claimed) == registered(a.domain)
				})
				isNew := claimed == "example.org" && strings.Contains(" "+name, " info at example.org") ||
					claimed == "example.org" && strings.Contains(name, "(info at example.org")
				if !isOld && !isNew {
					t.Errorf("%q of %q: %q claims %s", form, attack, name, match[0])
				}
			}
		}
		if t.Failed() {
			return
		}
	}
}
