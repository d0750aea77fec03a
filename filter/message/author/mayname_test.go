package author

import "testing"

func TestWhatCouldBePutTogetherIsSeenInOddFieldsOnly(t *testing.T) {
	for value, want := range map[string]bool{
		`Alice <a@fwd.evil.example, test>`:                        true, // not plain
		`a@f(x)w(y)d.<z>test <b@evil.example>`:                    true,
		`=?utf-8?q?a=40f?= ((=?utf-8?b?d2QudGVzdA==?=)) <b@c.de>`: true,
		`"fwd.test" <a@evil.example`:                              false, // nothing behind the @
		`"a\\"b" <a@evil.example>`:                                false,
		`"fwd.test@x" <a@evil.example>`:                           false, // plain
		`a@fwd-test.evil.example`:                                 false, // plain
	} {
		if got := (Fields{value}).MayName("fwd.test"); got != want {
			t.Errorf("%s: %t", value, got)
		}
	}
	if !(Fields{"a@evil.example", "ceo@fwd.test"}).MayName("fwd.test") {
		t.Error("two fields are not plain")
	}
}
