package author

import (
	"slices"
	"testing"
)

// The readings are those of Mail::DMARC 1.20211209, qpsmtpd, Haraka and Mail::Milter::Authentication.
func TestAddressesInNamesAreSeenWhereAVerifierTakesThemForTheAuthors(t *testing.T) {
	for value, want := range map[string]bool{
		`<a@evil.example> (ceo@fwd.test )`:                                   true,
		`a@evil.example (x@y@fwd.test )`:                                     true,
		`(ceo@fwd.test) <a@evil.example>`:                                    true,
		`<a@evil.example> (=?utf-8?q?ceo=40fwd.test_?=)`:                     true,
		`<a@evil.example> (=?utf-8?b?Y2VvQGZ3ZC50ZXN0IA==?=)`:                true,
		`<a@evil.example> (=?utf-7?q?ceo+AEA-fwd.test_?=)`:                   true,
		`<a@evil.example> (=?utf7?q?ceo+AEA-fwd.test_?=)`:                    true,
		`<a@evil.example> (=?utf-7?q?+AGMAZQBvAEAAZgB3AGQALgB0AGUAcwB0?=)`:   true,
		`<a@evil.example> (=?utf-16be?b?AGMAZQBvAEAAZgB3AGQALgB0AGUAcwB0?=)`: true,
		`<a@evil.example> (=?cp037?q?=83=85=96=7C=86=A6=84K=A3=85=A2=A3?=)`:  true,
		`"ceo@fwd.test" Boss <a@evil.example>`:                               true,
		`"'ceo@fwd.test'" "" <a@evil.example>`:                               true,
		`"ceo@fwd.test" (x) <a@evil.example>`:                                true,
		`"\\" <a@evil.example>, " ceo@fwd.test " <b@evil.example>`:           true,
		// As very many mailers write it:
		"\"ceo@fwd.test\"\r\n\t<a@evil.example>":               false,
		`"ceo@fwd.test (via Forms)" <a@evil.example>`:          false,
		`=?utf-8?q?ceo=40fwd.test?= <a@evil.example>`:          false,
		`"ceo@fwd.test"<a@evil.example>, "x" <b@evil.example>`: false,
		`"Boss (fwd.test)" <a@evil.example> (at fwd.test)`:     false,
		`<a@evil.example> ("ceo@fwd.test")`:                    false, // not plain: Domains tells
		`"ceo@fwd.test`:                                        false,
		``:                                                     false,
	} {
		if got := slices.Contains((Fields{value}).Stray(), "fwd.test"); got != want {
			t.Errorf("%s: %t", value, got)
		}
	}
}
