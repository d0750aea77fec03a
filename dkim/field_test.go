package dkim

import (
	"bytes"
	"strings"
	"testing"
)

func TestTheHeaderEndsWherePostfixEndsIt(t *testing.T) {
	for _, c := range []struct {
		why, raw string
		fields   []string
		rest     string
	}{
		{"an empty line ends it", "A: 1\nB: 2\n\nbody\n", []string{"A: 1\n", "B: 2\n"}, "\nbody\n"},
		{"an empty line may have CRs", "A: 1\r\n\r\r\nbody", []string{"A: 1\r\n"}, "\r\r\nbody"},
		{"a line that is no field ends it", "A: 1\nno field\nB: 2\n", []string{"A: 1\n"}, "no field\nB: 2\n"},
		{"a continuation belongs to its field", "A: 1\n\t2\n  3\nB: 4\n",
			[]string{"A: 1\n\t2\n  3\n", "B: 4\n"}, ""},
		{"a line of blanks is a continuation", "A: 1\n \nB: 2\n", []string{"A: 1\n \n", "B: 2\n"}, ""},
		{"what starts with a blank is body", " A: 1\nB: 2\n", nil, " A: 1\nB: 2\n"},
		{"blanks before the colon are allowed", "A \t: 1\n\n", []string{"A \t: 1\n"}, "\n"},
		{"a name has no blank inside", "A B: 1\n", nil, "A B: 1\n"},
		{"a name is not empty", "A: 1\n: 2\n", []string{"A: 1\n"}, ": 2\n"},
		{"a name is ASCII", "\xc3\xa4: 1\n", nil, "\xc3\xa4: 1\n"},
		{"a name has no control characters", "A\x7f: 1\n", nil, "A\x7f: 1\n"},
		{"a name has no CR", "A\r: 1\n", nil, "A\r: 1\n"},
		{"a name may have odd characters", "!#$%&'*+-/=?^_`{|}~(),<>@[]\\\".: 1\n",
			[]string{"!#$%&'*+-/=?^_`{|}~(),<>@[]\\\".: 1\n"}, ""},
		{"a From_ line is no field", "From a@example.org Thu Jan\nA: 1\n", nil,
			"From a@example.org Thu Jan\nA: 1\n"},
		{"the last line may lack its end", "A: 1\nB: 2", []string{"A: 1\n", "B: 2"}, ""},
		{"a CR alone ends no line", "A: 1\rB: 2\n\n", []string{"A: 1\rB: 2\n"}, "\n"},
		{"an empty value is a value", "A:\n\n", []string{"A:\n"}, "\n"},
		{"nothing has no fields", "", nil, ""},
	} {
		header, n := SplitHeader([]byte(c.raw))
		got := make([]string, len(header))
		for i, field := range header {
			got[i] = string(field)
		}
		if strings.Join(got, "|") != strings.Join(c.fields, "|") || c.raw[n:] != c.rest {
			t.Errorf("%s: %q gave %q and %q", c.why, c.raw, got, c.raw[n:])
		}
	}
}

func TestAFieldTellsItsNameAndValue(t *testing.T) {
	f := Field("Reply-To \t: <a@example.org>\r\n (fold)\r\n")
	if f.Name() != "Reply-To" || string(f.Value()) != " <a@example.org>\r\n (fold)\r\n" {
		t.Errorf("%q, %q", f.Name(), f.Value())
	}
	for name, want := range map[string]bool{
		"Reply-To": true, "REPLY-TO": true, "reply-to": true, "reply": false, "reply-to:": false, "": false,
		"reply-to-and-more": false, "reply-t\u00d3": false,
	} {
		if f.Is(name) != want {
			t.Errorf("Is(%q) is %v", name, !want)
		}
	}
	if Field("x@y: 1\n").Is("xPy") || Field("X[: 1").Is("x{") {
		t.Error("characters that are no letters have no case")
	}
}

func TestAskingForANameAllocatesNothing(t *testing.T) {
	f := Field("Authentication-Results-Of-A-Quite-Long-Name: x\r\n")
	if n := testing.AllocsPerRun(100, func() { f.Is("authentication-results-of-a-quite-long-name") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzSplitHeader(f *testing.F) {
	for _, seed := range []string{"A: 1\n b\n\nbody", "A: 1\r\r\nB \t:\r\n\r\n", " x", "A:\n \n\t\n:",
		"a\r: b\n\r"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		header, n := SplitHeader(raw)
		if joined := append(bytes.Join(fieldBytes(header), nil), raw[n:]...); !bytes.Equal(joined, raw) {
			t.Fatalf("%q became %q", raw, joined)
		}
		for i, field := range header {
			if name := field.Name(); name == "" || !field.Is(name) || !field.Is(strings.ToUpper(name)) {
				t.Errorf("%q does not have its name %q", field, name)
			}
			if field[0] == ' ' || field[0] == '\t' {
				t.Errorf("%q starts with a blank", field)
			}
			if i < len(header)-1 && field[len(field)-1] != '\n' {
				t.Errorf("%q has no line end", field)
			}
			// A field is a header by itself, whatever stands around it.
			if again, m := SplitHeader(field); len(again) != 1 || m != len(field) {
				t.Errorf("%q by itself is %q", field, again)
			}
		}
	})
}

func fieldBytes(header Header) [][]byte {
	list := make([][]byte, len(header))
	for i, field := range header {
		list[i] = field
	}
	return list
}
