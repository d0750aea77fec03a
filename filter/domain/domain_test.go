package domain

import "testing"

func TestNamesAreComparedInOneForm(t *testing.T) {
	for in, want := range map[string]string{
		"Example.ORG":        "example.org",
		"example.org.":       "example.org",
		"MÜNCHEN.example":    "xn--mnchen-3ya.example",
		"xn--mnchen-3ya.de":  "xn--mnchen-3ya.de",
		"münchen。de":         "xn--mnchen-3ya.de",
		"_dmarc.example.org": "_dmarc.example.org",
		"localhost":          "localhost",
		"":                   "",
		".":                  "",
		"a..b":               "",
		".example.org":       "",
		"exa mple.org":       "",
		"[192.0.2.1]":        "",
		"example.org\x00":    "",
		"-odd.example":       "-odd.example", // receivers take it for a name below example
	} {
		if got := Name(in); got != want {
			t.Errorf("Name(%q) is %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{"", "-a.example", "a-.example", "a.-b.example", "$mydomain", "a b.example"} {
		if got, err := Parse(in); err == nil {
			t.Errorf("Parse(%q) is %q", in, got)
		}
	}
}

func TestAlignmentGoesByTheRegisteredDomain(t *testing.T) {
	for _, pair := range []struct {
		a, b string
		want bool
	}{
		{"example.org", "example.org", true},
		{"mail.example.org", "lists.example.org", true},
		{"example.org", "example.com", false},
		{"a.example.co.uk", "example.co.uk", true},
		{"other.co.uk", "example.co.uk", false},
		{"co.uk", "example.co.uk", false},
		{"", "", false},
		{"example.org", "", false},
	} {
		if got := Aligned(pair.a, pair.b); got != pair.want {
			t.Errorf("Aligned(%q, %q) is %t", pair.a, pair.b, got)
		}
		if pair.want && !MayAlign(pair.a, pair.b) {
			t.Errorf("MayAlign(%q, %q) denies what Aligned says", pair.a, pair.b)
		}
	}
}

func TestASetHasDomainsAndSubdomains(t *testing.T) {
	s := Set{}
	for _, entry := range []string{"Example.org", ".customers.example"} {
		if err := s.Add(entry); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{
		"example.org": true, "a.example.org": false, "customers.example": false, "a.customers.example": true,
		"b.a.customers.example": true, "": false,
	} {
		if s.Has(name) != want {
			t.Errorf("Has(%q) is %t", name, !want)
		}
	}
	if s.Add("$mydomain") == nil {
		t.Error("a parameter of Postfix was added")
	}
}
