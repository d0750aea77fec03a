package author

import (
	"strings"
	"testing"
)

// TestAMailboxIsTheSameHoweverPostfixWritesIt: the left form is what arrives, the right one what cleanup(8)
// makes of it when a program submits it again (seen: tests/resubmission_test.go).
func TestAMailboxIsTheSameHoweverPostfixWritesIt(t *testing.T) {
	for arrived, later := range map[string]string{
		"Alice <\"a\"@bank.example>":             "Alice <a@bank.example>",
		"\"a\"@bank.example":                     "a@bank.example",
		"Alice <a@bank.example.>":                "Alice <a@bank.example>",
		"Alice <@bank.example:a@bank.example>":   "Alice <a@bank.example>",
		"\"Alice  B.\"  <a@Bank.Example>":        "Alice B. <a@bank.example>",
		"\"B \\\"A\\\"\" < a@bank.example >":     "\"B \\\"A\\\"\" <a@bank.example>",
		"a@bank.example (Alice)":                 "a@bank.example\r\n\t(Alice)",
		"=?utf-8?q?J=C3=B6rg?= <a@bank.example>": "=?utf-8?q?J=C3=B6rg?=\r\n <a@bank.example>",
	} {
		want, isPlain := Fields{later}.Mailbox()
		if got, ok := (Fields{arrived}).Mailbox(); !ok || !isPlain || got != want {
			t.Errorf("%q: got %q, %t, want %q, %t", arrived, got, ok, want, isPlain)
		}
	}
}

// TestDifferentAuthorsAreNotTheSameMailbox: all of these differ from each other, or have no such form.
func TestDifferentAuthorsAreNotTheSameMailbox(t *testing.T) {
	seen := map[Mailbox]string{}
	for _, value := range []string{
		"Alice <a@bank.example>", "Bob <a@bank.example>", "a@bank.example", "Alice <A@bank.example>",
		"Alice <a@bank.example.org>", "Alice <a@mail.bank.example>", "Alice <b@bank.example>",
		"\"Alice <a@bank.example>\" <eve@evil.example>", "\"a@bank.example\" <eve@evil.example>",
		"Alice (x) <a@bank.example>", "a@bank.example (Alice)", "a@bank.example (Boss)",
	} {
		got, ok := Fields{value}.Mailbox()
		if !ok || seen[got] != "" {
			t.Errorf("%q is %q, %t, as is %q", value, got, ok, seen[got])
		}
		seen[got] = value
	}
	for _, fields := range []Fields{
		{}, {"a@bank.example", "a@bank.example"}, {""}, {"boss"}, {"boss@localhost"}, {"<boss%bank.example>"},
		{"bank.example!boss"},
		{"boss%bank.example@evil.example"}, {"Alice <a@bank.example>, eve@evil.example"},
		{"Alice <a@bank.example> <eve@evil.example>"},
		{"team: a@bank.example;"}, {"<\"a@bank.example\"@evil.example>"},
		{"a@bank.example <eve@evil.example"}, {"A\\"}, {"\"A <a@bank.example>"},
		{"<a@bank.example>eve"}, {"a b@bank.example"}, {"<@bank.example,@evil.example:a@x@bank.example>"},
		{"a@bank.example (x (y))"}, {"Al\x00ice <a@bank.example>"},
		{"Al\x1bice <a@bank.example>"},
		{strings.Repeat("\"\" ", 400) + "<a@bank.example>"},
		{"[<a@bank.example.>"}, {"[x] <a@bank.example>"}, {"b(x)a@bank.example."}, {"a@bank.example.\u00a0"},
		{"<a@[192.0.2.1]>"}, {"<>"}, {"Alice <<a@bank.example>>"},
	} {
		if got, ok := fields.Mailbox(); ok {
			t.Errorf("%q is %q", fields, got)
		}
	}
}

func TestWhatPostfixRewritesIsNotKept(t *testing.T) {
	for value, want := range map[string]bool{
		"": true, " bob@example.org": true, " Bob <bob@example.org>, \"x@y, z\" <carol@example.net>": true,
		" bob@example.org (Bob)": true, " \"bob@example.org.\" <bob@example.org>": true,
		" =?utf-8?q?J=C3=B6rg?=\r\n <a@bank.example>": true, " bob": false, " bob@localhost": false,
		" bob@example.org.": false, " <\"bob\"@example.org>": false,
		" Bob Smith, bob@example.org":  false,
		" bob%example.org@example.net": false, " <@example.net:bob@example.org>": false,
		" a@example.org b@example.org": false, " bob@example.org, <carol@example.org.>": false,
	} {
		if got := IsKept([]byte(value)); got != want {
			t.Errorf("%q: %t", value, got)
		}
	}
}
