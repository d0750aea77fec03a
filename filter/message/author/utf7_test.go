package author

import "testing"

// The first four are the examples of RFC 2152.
func TestUTF7(t *testing.T) {
	for in, want := range map[string]string{
		"A+ImIDkQ.":         "A≢Α.",
		"Hi Mom -+Jjo--!":   "Hi Mom -☺-!",
		"+ZeVnLIqe-":        "日本語",
		"Item 3 is +AKM-1.": "Item 3 is £1.",
		"1 +- 1":            "1 + 1",
		"ceo+AEA-x":         "ceo@x",
		"ceo+AEAAeA":        "ceo@x",
		"+2D3eAA-":          "\U0001F600",
		"plain":             "plain",
		"":                  "",
	} {
		if got, whole := fromUTF7([]byte(in)); got != want || !whole {
			t.Errorf("%q: %q, %t, want %q", in, got, whole, want)
		}
	}
	for _, in := range []string{"+", "+!", "x+A", "+AE", "+AEB", "\xff", "+2D0-", "+3gA-x"} {
		if text, whole := toUTF8("utf-7", []byte(in)); whole {
			t.Errorf("%q: %q is whole", in, text)
		}
	}
}
