package message

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"postmend/dkim"
)

func spooled(t testing.TB, text string) *Message {
	t.Helper()
	m, err := Read(strings.NewReader(text), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestAuthorDomainsAreThoseThatAReceiverCouldSee(t *testing.T) {
	for from, want := range map[string][]string{
		"From: a@b.example\n":                            {"b.example"},
		"From: Alice <a@B.Example>\n":                    {"b.example"},
		"fRoM : =?utf-8?q?M=C3=BCller?= <a@b.example>\n": {"b.example"},
		"From: \"boss@example.org\" <a@b.example>\n":     {"b.example"},
		"From: a@b.example,\n\tc@d.example\n":            {"b.example", "d.example"},
		"From: a@b.example\nFrom: c@d.example\n":         {"b.example", "d.example"},
		"From: a@b.example (comment c@d.example)\n":      {"b.example"},
		"From: group: a@b.example, c@d.example;\n":       {"b.example", "d.example"},
		"From: Alice <a@b.example\n":                     {"b.example"},
		// not valid; receivers differ
		"From: boss@example.org <a@b.example>\n":   {"example.org", "b.example"},
		"From: <a@b.example> <boss@example.org>\n": {"b.example", "example.org", "b.exampleboss"},
		"From: a@ example.org\n":                   {"example.org"},
		"From: a@example.org.\n":                   {"example.org"},
		"From: a@bücher.example\n":                 {"xn--bcher-kva.example"},
		"From: nobody\n":                           nil,
		"From:\n":                                  nil,
		"Subject: none\n":                          nil,
		"X-From: a@b.example\n":                    nil,
		"From: a@b.example\r\n x@c.example\r\n":    {"b.example", "c.example", "b.examplex"},
		"From: undisclosed:;\n":                    nil,
		"From: a@[192.0.2.1]\n":                    {"[192.0.2.1]", "192.0.2.1"},
		"From: \"a\\\"b\" <x@\"example.org\">\n":   {"example.org"},
		// What readers make of these differs: comments, blanks and what cannot be seen are skipped by some
		// (RFC 5322 sections 3.4.1, 4.4).
		"From: boss@example(c).org\n":                {"example.org"},
		"From: boss@(z) example.org\n":               {"example.org"},
		"From: Boss <boss@(b.example)example.org>\n": {"b.example", "example.org"},
		"From: boss@\"b.example\"example.org\n":      {"b.example", "example.org", "b.exampleexample.org"},
		"From: boss@<b.example>example.org\n":        {"b.example", "example.org", "b.exampleexample.org"},
		"From: boss@example. org\n":                  {"example.org"},
		"From: boss @ example\n . org\n":             {"example.org"},
		"From: boss@exam\x00ple.org\n":               {"ple.org", "example.org"},
		"From: boss@\u00a0example.org x\n": {"?example.org", "xn--example-lha.org", "?example.orgx",
			"xn--example-lha.orgx", "example.org", "example.orgx"},
		"From: boss@\xe9example.org\n": {"xn--example-ze14b.org",
			"?example.org", "example.org"},
		"From: boss@example..org\n":                 {"example..org", "example.org"},
		"From: boss@example.org\r\rX: y\n":          {"example.org", "example.orgx"},
		"From: boss＠example.org\n":                  {"example.org"},
		"From: boss@[example.org]\n":                {"example.org"},
		"From: boss@=?utf-8?b?ZXhhbXBsZS5vcmc=?=\n": {"example.org"},
		"From: =?utf-8?q?boss=40example=2Eorg?=\n":  {"example.org"},
		// not all know this dot
		"From: Boss <boss@example.org。>\n": {"example.org", "example.xn--org-bz3b"},
		"From: Boss <boss@example.org\uff0e>\n": {"example.org",
			"example.xn--org-w16s"},
		// not valid, and clear to all
		"From: Foo, Inc. <news@b.example>\n":      {"b.example"},
		"From: news@b.example <news@b.example>\n": {"b.example"},
		"From: Dr. A.B. <a@b.example>, x.y@d.example z\n": {"b.example", "d.example",
			"d.examplez"},
		"From: a@b.example, boss@example.org <mallory@evil.example>\n": {"b.example", "example.org",
			"evil.example"},
	} {
		if got := spooled(t, from+"\nbody\n").Authors(); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", from, got, want)
		}
	}
}

// TestWhatReadersDisagreeOnIsReadInEveryWay has the forms that were found by comparing readers
// (tests/from_differential_test.go).
func TestWhatReadersDisagreeOnIsReadInEveryWay(t *testing.T) {
	for header, domain := range map[string]string{
		"From: <\"ceo@fwd.test>\"@evil.example>\n":                              "fwd.test",
		"From: Mallory (hi (there) <ceo@fwd.test> ) <a@evil.example>\n":         "fwd.test",
		"From: a@evil.example (x)(y (z) <ceo@fwd.test>)\n":                      "fwd.test",
		"From: x: a@evil.example; (ceo@fwd.test)\n":                             "fwd.test",
		"From: x: a@evil.example (ceo@fwd.test);\n":                             "fwd.test",
		"From: <\"ceo@fwd.test\n x\"@evil.example>\n":                           "fwd.test",
		"From: \"ceo@fwd.test\n x\" <a@evil.example>\n":                         "fwd.test",
		"From: Boss ceo@fwd.test\u2026\n":                                       "fwd.test",
		"From: Boss ceo@fwd.test\u3000\n":                                       "fwd.test",
		"From: Boss ceo@fwd.test\u2003\n":                                       "fwd.test",
		"From: Boss ceo@fwd.test\u00a0x\n":                                      "fwd.test",
		"From: ceo@fwd\ufeff.test\n":                                            "fwd.test",
		"From: ceo@fwd\u00ad.test\u00a0x\n":                                     "fwd.test",
		"From: ceo@fwd\u3002test\n":                                             "fwd.test",
		"From: ceo@f\xe9wd.test\n":                                              "fwd.test",
		"From: ceo@f\x00wd.test\n":                                              "fwd.test",
		"From: ceo@fwd.test\x00.evil.example\n":                                 "fwd.test",
		"X-A: b\rFrom: ceo@fwd.test\nFrom: a@evil.example\n":                    "fwd.test",
		"X-A: b\r\rfrom\t: ceo@fwd.test\nFrom: a@evil.example\n":                "fwd.test",
		"X-A: b\r\u00a0From: ceo@fwd.test\nFrom: a@evil.example\n":              "fwd.test",
		"From: a@evil.example\r <ceo@fwd.test>\n":                               "fwd.test",
		"From : ceo@fwd.test\n":                                                 "fwd.test",
		"FROM\t \t:ceo@fwd.test\nFrom: a@evil.example\n":                        "fwd.test",
		" From: ceo@fwd.test\nFrom: a@evil.example\n":                           "fwd.test",
		"From: a@evil.example\nno colon\nFrom: ceo@fwd.test\n":                  "fwd.test",
		"From: a@evil.example\nX Y: b\nfrom: Boss\n <ceo@fwd.test>\n":           "fwd.test",
		"From: a@evil.example\n\r\nFrom: ceo@fwd.test\n":                        "fwd.test",
		"From: a@evil.example\nFrom\x00: ceo@fwd.test\n":                        "fwd.test",
		"From: a@evil.example\nFrom\r: ceo@fwd.test\n":                          "fwd.test",
		"From: a@evil.example\nFrom\v: ceo@fwd.test\n":                          "fwd.test",
		"From: a@evil.example\n\u00a0From: ceo@fwd.test\n":                      "fwd.test",
		"From: \"Boss\"\n\f <ceo@fwd.test>\n":                                   "fwd.test",
		"From: ceo@fwd.te(x (y) st <a@evil.example>\n":                          "fwd.te",
		"From: <ceo@fwd.te)st>\n":                                               "fwd.test",
		"From: <ceo@fwd.te<x>st>, a@evil.example\n":                             "fwd.texst",
		"From: ceo@fwd. test x\n":                                               "fwd.test",
		"From: ceo@fwd.te st\n":                                                 "fwd.test",
		"From: ceo@fwd.te (x (y) st\n":                                          "fwd.test",
		"From: =?utf-8?b?Y2Vv.QGZ3ZC50ZXN0?= x@ <a@evil.example>\n":             "fwd.test",
		"From: a@evil.example, (x\"y)ceo@fwd.test\n":                            "fwd.test",
		"From: <@fwd.test:a@evil.example>\n":                                    "fwd.test",
		"From: <@evil.example,@evil.example:ceo@fwd.test>\n":                    "fwd.test",
		"From: ceo@fwd.test@evil.example\n":                                     "fwd.test",
		"From: \"Boss \\\" <ceo@fwd.test> \\\"\" <a@evil.example>\n":            "fwd.test",
		"From: \"a\"ceo@fwd.test\"b\" <a@evil.example>\n":                       "fwd.test",
		"From: Boss <ceo@fwd.test>, Mallory <a@evil.example>\n":                 "fwd.test",
		"From: ceo@fwd.test <a@evil.example>\n":                                 "fwd.test",
		"From: =?utf-8?q?x?= <ceo@fwd.test> <a@evil.example>\n":                 "fwd.test",
		"From: a@evil.example\nX: y\nFrom: Boss\n <ceo@fwd.test>\nSubject: z\n": "fwd.test",
	} {
		if got := spooled(t, header+"\nbody\n").Authors(); !slices.Contains(got, domain) {
			t.Errorf("%q: %q, without %s", header, got, domain)
		}
	}
}

// What all readers agree on is proved by what proves it: real mail has these forms.
func TestOrdinaryFromFieldsHaveOneDomain(t *testing.T) {
	for _, from := range []string{
		"a@b.example", " a@b.example ", "<a@b.example>", "Alice <a@b.example>", "\"Alice\" <a@b.example>",
		"\"Alice\"<a@b.example>",
		"\"Smith, Alice\" <a@b.example>", "Alice\n Smith\n\t<a@b.example>",
		"\"Alice \\\"Al\\\" Smith\" <a@b.example>", "Alice \"Al\" Smith <a@b.example>",
		"\"bob@other.example\" <a@b.example>", "\"bob@other.example via List\" <a@b.example>",
		"\"'bob@other.example' via List\" <a@b.example>",
		"\"Bob <bob@other.example>\" <a@b.example>", "\"Bob (bob@other.example)\" <a@b.example>",
		"\"@\" <a@b.example>",
		"=?utf-8?q?M=C3=BCller?= <a@b.example>", "=?utf-8?q?M=C3=BCller,_Inc.?= <a@b.example>",
		"=?utf-8?q?x=40other.example?= <a@b.example>",
		"=?utf-8?b?Ym9iQG90aGVyLmV4YW1wbGU=?= <a@b.example>",
		"=?utf-8?q?A:_x=40other.example?= <a@b.example>", "\"=?utf-8?q?x=40other.example?=\" <a@b.example>",
		"=?utf-8?q?M=C3=BC?=\n =?utf-8?q?ller?= <a@b.example>", "Müller <a@b.example>",
		"M\xfcller <a@b.example>", "Alice\u00a0Smith\u2026 <a@b.example>",
		"a@b.example (Alice)", "a@b.example (bob@other.example)", "Alice (Sales) <a@b.example>",
		"Alice (bob@other.example) <a@b.example>", "<a@b.example> (Alice)",
		"a@b.example(Alice)", "a.b+c=d@b.example", "\"a b\"@b.example", "Dr. A.B. <a@b.example>",
		"O'Brien, Inc. <a@b.example>", "[List] Alice <a@b.example>",
		"a@b.example <a@b.example>", "<a@b.example", "Alice <a@b.example>;", "a@b.example,",
		"Team: a@b.example, c@b.example;", "a@b.example, Carol <c@b.example>",
		"Alice (Sales (EU)) <a@b.example>", "Alice <a @ b.example>", "a@(c)b.example", "Alice <a@b.example >",
	} {
		if got := spooled(t, "From: "+from+"\n\nFrom: ceo@fwd.test\n").Authors(); !slices.Equal(got,
			[]string{"b.example"}) {
			t.Errorf("%q: %q", from, got)
		}
	}
	for from, want := range map[string]string{"a@bücher.example": "xn--bcher-kva.example",
		"Alice <a@mail.bücher.example>": "mail.xn--bcher-kva.example", "a@B.Example.": "b.example"} {
		if got := spooled(t, "From: "+from+"\n\nbody\n").Authors(); !slices.Equal(got, []string{want}) {
			t.Errorf("%q: %q", from, got)
		}
	}
}

// shapes are messages as no one should write them.
var shapes = map[string]string{
	"no blank line after the header": "From: a@b.example\nSubject: x\n",
	"no line end at all":             "From: a@b.example",
	"no header":                      "\nbody\n",
	"only a body":                    "this is no field\nbody\n",
	"starts with a blank":            " folded: into nothing\nbody\n",
	"line without colon":             "From: a@b.example\nthis is no field\nSubject: x\n\nbody\n",
	"CRLF":                           "From: a@b.example\r\nSubject: x\r\n\r\nbody\r\n",
	"mixed line ends":                "From: a@b.example\r\nSubject: x\n\r\nbody\nmore\r\n",
	"bare CR":                        "From: a@b.example\nSubject: a\rb\n\nbo\rdy\n",
	"NUL":                            "From: a@b.example\nSubject: a\x00b\n\nbo\x00dy\n",
	"8-bit":                          "From: a@b.example\nSubject: \xfc\n\nbod\xff\n",
	"dots":                           "From: a@b.example\n\n.\n..\n.\n",
	"long line": "From: a@b.example\nSubject: " + strings.Repeat("x", 1<<20-100) +
		"\n\n" + strings.Repeat("y", 1<<20) + "\n",
	"no final line end": "From: a@b.example\n\nbody",
	"empty name":        ": value\n\nbody\n",
	"blank lines":       "From: a@b.example\n\n\n\n\n",
	"many fields":       strings.Repeat("X: y\n", 20000) + "\nbody\n",
	"field over 80000 lines": "Subject: x\n" + strings.Repeat(" y\n", 80000) +
		"From: a@b.example\n\nbody\n",
	"larger than memory": "From: a@b.example\n\n" + strings.Repeat("0123456789abcdef\n", 200000),
}

func TestAMessageThatIsNotMendedLeavesOctetForOctet(t *testing.T) {
	for name, text := range shapes {
		var out bytes.Buffer
		n, err := spooled(t, text).Content().WriteTo(&out)
		if err != nil || out.String() != text || n != int64(len(text)) {
			t.Errorf("%s: changed, or %d of %d octets: %v", name, n, len(text), err)
		}
	}
}

// What is added stands on top, is the header's as Postfix reads it, and leaves the rest as it was.
func TestFieldsAreOnlyEverPrepended(t *testing.T) {
	for name, text := range shapes {
		m := spooled(t, text)
		var out bytes.Buffer
		c := m.Content()
		c.Prepend(dkim.Field("X-Added: 1\r\n"), dkim.Field("X-Added: 2\r\n folded\r\n"))
		if _, err := c.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		header, n := dkim.SplitHeader(out.Bytes())
		if len(header) != len(m.Header)+2 || !header[0].Is("X-Added") || !header[1].Is("X-Added") {
			t.Errorf("%s: %d fields, had %d", name, len(header), len(m.Header))
			continue
		}
		for i, field := range m.Header {
			if !bytes.Equal(bytes.TrimRight(header[i+2], "\r\n"), bytes.TrimRight(field, "\r\n")) {
				t.Errorf("%s: field %d became %q", name, i, header[i+2])
				break
			}
		}
		var before bytes.Buffer
		if err := m.WriteBody(&before); err != nil {
			t.Fatal(err)
		}
		if after := spooledBody(t, out.Bytes()[n:]); after != before.String() {
			t.Errorf("%s: the body changed", name)
		}
	}
}

func spooledBody(t *testing.T, body []byte) string {
	t.Helper()
	return string(body[emptyLine(body):])
}

func TestAMessageIsSpooledHoweverItComes(t *testing.T) {
	for name, text := range shapes {
		for kind, reader := range map[string]io.Reader{"halves": iotest.HalfReader(strings.NewReader(text)),
			"data with error": iotest.DataErrReader(strings.NewReader(text))} {
			m, err := Read(reader, Options{Dir: t.TempDir()})
			if err != nil {
				t.Errorf("%s, %s: %v", name, kind, err)
				continue
			}
			var out bytes.Buffer
			m.WriteTo(&out)
			if out.String() != text || m.size != int64(len(text)) {
				t.Errorf("%s, %s: %d octets of %d", name, kind, out.Len(), len(text))
			}
			if wants := name == "8-bit"; m.EightBit != wants {
				t.Errorf("%s: EightBit %v", name, m.EightBit)
			}
			m.Close()
		}
	}
	if _, err := Read(iotest.ErrReader(io.ErrUnexpectedEOF), Options{Dir: ""}); err == nil {
		t.Error("an error of standard input was taken for its end")
	}
}

func TestTheSpoolFileHasNoName(t *testing.T) {
	dir := t.TempDir()
	m, err := Read(strings.NewReader(shapes["larger than memory"]), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if entries, _ := os.ReadDir(dir); len(entries) != 0 || m.file == nil {
		t.Errorf("%d files in the spool folder", len(entries))
	}
}

func TestAHeaderOfMoreThanAMegabyteIsNotRead(t *testing.T) {
	for text, oversized := range map[string]bool{
		"Subject: " + strings.Repeat("x", maxHeader-110) +
			"\n\nbody\n": false,
		"Subject: " + strings.Repeat("x", maxHeader-10) +
			"\n\nbody\n": true,
		"Subject: " + strings.Repeat("x", 3*maxHeader) +
			"\n\nbody\n": true,
		// cut within a name
		strings.Repeat(strings.Repeat("A", 100)+": b\n", maxHeader/100) + "From: a@b.example\n\nbody\n": true,
		"Subject: " + strings.Repeat("x", maxHeader-11) + "\n\n" +
			strings.Repeat("body\n", maxHeader): false,
		"Subject: " + strings.Repeat("x", maxHeader-100) + "\n\n" +
			strings.Repeat("one line ", maxHeader) + "\n": false,
	} {
		n := len(text)
		m := spooled(t, text)
		if m.Oversized != oversized || oversized == (m.Header != nil) {
			t.Errorf("a header of %d octets: oversized %v, %d fields", n, m.Oversized, len(m.Header))
		}
		var out bytes.Buffer
		m.WriteTo(&out)
		if out.String() != text {
			t.Error("the message changed")
		}
	}
}

func FuzzMessage(f *testing.F) {
	for name, text := range shapes {
		if len(text) < 1000 {
			f.Add([]byte(text), name)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, _ string) {
		m, err := Read(bytes.NewReader(text), Options{Dir: ""})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		m.Authors()
		var out bytes.Buffer
		c := m.Content()
		c.Prepend(dkim.Field("X-Added: 1\r\n"))
		c.WriteTo(&out)
		again, _ := dkim.SplitHeader(out.Bytes())
		if len(again) != len(m.Header)+1 {
			t.Errorf("%q: %d fields became %d", text, len(m.Header), len(again))
		}
	})
}
