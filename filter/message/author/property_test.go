package author

import (
	"io"
	"math/rand/v2"
	"mime"
	"slices"
	"strings"
	"testing"

	"postmend/dkim"
)

// TestWhateverArrivesTheNewFromFieldHoldsOurAddressAlone writes fields of the forms of RFC 5322 and of what
// breaks them, and has them read by Go's and Python's parsers.
func TestWhateverArrivesTheNewFromFieldHoldsOurAddressAlone(t *testing.T) {
	w := fromWriter{rand.New(rand.NewPCG(1, 2))}
	const forPython = 400
	var headers []string
	for n := range 5000 {
		in := header("From: " + w.list() + "\r\n")
		out := rewritten(t, in, alias)
		checkInvariants(t, in, out)
		if n < forPython {
			headers = append(headers, latin1(joined(out)))
		}
		inUTF8, err := Rewrite(in, NewAuthor{Address: alias}, true)
		if err != nil {
			t.Fatal(err)
		}
		for i, field := range inUTF8 { // Reply-To: alone may differ
			if !field.Is("Reply-To") &&
				!slices.ContainsFunc(out, func(other dkim.Field) bool {
					return string(other) == string(field)
				}) {
				t.Errorf("field %d with SMTPUTF8: %q", i, field)
			}
			checkReplyTo(t, field)
		}
		if t.Failed() {
			t.Fatalf("field %d: %q", n, in)
		}
	}
	for i, got := range readByPython(t, headers) {
		if got.Fields != 1 || !slices.Equal(got.Addresses, []string{alias, alias}) || len(got.Defects) > 0 {
			t.Errorf("%q: %+v", headers[i], got)
		}
	}
}

// fromWriter makes up From: values.
type fromWriter struct{ *rand.Rand }

func (w fromWriter) pick(choices ...string) string { return choices[w.IntN(len(choices))] }

func (w fromWriter) list() string {
	text := w.pick("", "", "", "Board: ", "x:;", ", ") + w.mailbox()
	for w.IntN(4) == 0 {
		text += w.pick(",", ", ", ",\r\n ", ";", " ") + w.mailbox()
	}
	for w.IntN(3) == 0 { // what breaks it
		at := w.IntN(len(text) + 1)
		text = text[:at] + w.pick("\"", "(", ")", "<", ">", "@", ",", ":", "\\", "[", "=?", "?=", "\x00",
			"\x1b$", "\x1b(B", "\xf6", "…", "\u200b", "\r", "\r\n ", "\u3000") + text[at:]
	}
	return text
}

func (w fromWriter) mailbox() string {
	var name []string
	for range w.IntN(4) {
		name = append(name, w.pick("Alice", "\"Smith, A.\"", "=?utf-8?q?J=C3=B6rg?=", "=?utf-8?b?SsO2cmc=?=",
			"boss@example.com", "\"boss@example.com\"",
			"\"boss at example.com\"", "(boss@example.com)", "=?utf-8?q?boss=40example=2Ecom?=",
			"=?utf-8?q?=3Cboss=40example=2Ecom=3E?=", "boss\uff20example.com",
			"\"boss @ example . com\"", "\"boss (at) example.com\"", "=?utf-16?b?AEoA9gByAGc=?=",
			"=?x?q?=F6?=", "\x1b$B;3ED\x1b(B", "J\xf6rg", "Jörg", "(c)", "\"\"",
			strings.Repeat("x", 1200), "=?utf-8?q?boss?= @example.com", "boss@exam\u00adple.com", "at"))
	}
	address := w.pick("alice", "alice.b", "\"a b\"", "\"boss@example.com\"", "jörg", "=?utf-8?q?a?=",
		"a . b") + w.pick("@", "@", "@", " @ ", "@(c)") +
		w.pick("bank.example", "BANK.example", "bank . example", "[192.0.2.1]", "bücher.example",
			"bank.example.")
	address = w.pick("<"+address+">", "<"+address+">", address, "<<"+address+">>",
		"<@hop.example:"+address+">", "=?utf-8?q?=3Calice=40bank=2Eexample=3E?=", "<"+address, "<>")
	return strings.Join(append(name, address), w.pick(" ", " ", "", "\r\n ")) +
		w.pick("", "", " (Alice)", " (boss@example.com)", " x")
}

// asItCame is what an X-Original-From: field says.
func asItCame(t *testing.T, field dkim.Field) string {
	decoder := mime.WordDecoder{CharsetReader: func(charset string, input io.Reader) (io.Reader, error) {
		if charset != "unknown-8bit" {
			t.Errorf("charset %q", charset)
		}
		return input, nil
	}}
	text, err := decoder.DecodeHeader(dkim.Unfold(field.Value()))
	if err != nil {
		t.Errorf("%q: %v", field, err)
	}
	return text
}

func TestNothingOfTheOldFieldIsLost(t *testing.T) {
	for _, value := range []string{
		"Alice <alice@bank.example>", "Alice  B.   Carol <alice@bank.example>", "Jörg <j@bank.example>",
		"Jörg Müller <j@bank.example>", "J\xf6rg M\xfcller <j@bank.example>",
		"jörg@bücher.example", "A\x00lice \x1b$B;3ED\x1b(B <a@bank.example>", "A\rlice <a@bank.example>",
		"Alice\u00a0B\u3000C\u0085 <a@bank.example>",
		strings.Repeat("x", 1200) + " <a@bank.example>", "<a@bank.example> (" + strings.Repeat("ö", 500) +
			")", strings.Repeat("𝕏", 400), "what? =0A <a@bank.example>",
		strings.Repeat("Alice <alice@bank.example>, ", 200) + "bob@bank.example", "???", "\xff\xfe", "a =?",
	} {
		in := header("From: " + value + "\r\n")
		out := rewritten(t, in, alias)
		checkInvariants(t, in, out)
		i := slices.IndexFunc(out, func(f dkim.Field) bool { return f.Is("X-Original-From") })
		if i < 0 {
			t.Errorf("%q: not kept", value)
		} else if got := asItCame(t, out[i]); got != value {
			t.Errorf("got  %q\nwant %q\nin %q", got, value, out[i])
		}
	}
}

// Encoded words of the old field are kept as they are, and the blanks between them and ours count.
func TestEncodedWordsOfTheOldFieldStay(t *testing.T) {
	const value = "=?utf-8?q?J=C3=B6rg?= Müller =?iso-8859-1?q?=E4?= ä <j@bank.example>"
	out := rewritten(t, header("From: "+value+"\r\n"), alias)
	field := out[len(out)-1]
	text := dkim.Unfold(field.Value())
	if !strings.HasPrefix(text, "=?utf-8?q?J=C3=B6rg?= ") ||
		!strings.Contains(text, " =?iso-8859-1?q?=E4?= ") {
		t.Errorf("%q", field)
	}
	if got, want := asItCame(t, field), "Jörg Müller ä ä <j@bank.example>"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAFieldWithoutEndIsKeptUpToAWord(t *testing.T) {
	value := strings.Repeat("Jörg <j@bank.example>, ", 2000)
	out := rewritten(t, header("From: "+value+"\r\n"), alias)
	got := asItCame(t, out[len(out)-1])
	kept, cut := strings.CutSuffix(got, " ...")
	if !cut || !strings.HasPrefix(value, kept) || len(kept) < maxOriginal-100 {
		t.Errorf("%d octets, ending with %q", len(got), got[len(got)-40:])
	}
}

// RFC 6532 section 3.2: an address in UTF-8 goes where SMTPUTF8 goes.
func TestAnAddressInUTF8IsAnsweredWhereSMTPUTF8Goes(t *testing.T) {
	for value, want := range map[string]string{
		"<jörg@bank.example>":                              "jörg@bank.example",
		"Jörg <jörg@bücher.example>":                       "jörg@xn--bcher-kva.example",
		"<\"jörg m\"@bank.example>":                        "\"jörg m\"@bank.example",
		"=?utf-8?b?SsO2cmcgPGrDtnJnQGJhbmsuZXhhbXBsZT4=?=": "jörg@bank.example",
		"alice@bank.example, jörg@bank.example":            "alice@bank.example, jörg@bank.example",
		"<j\u200brg@bank.example>":                         "",
		"<j\u202erg@bank.example>":                         "",
		"<j\xf6rg@bank.example>":                           "",
	} {
		in := header("From: " + value + "\r\n")
		out, err := Rewrite(in, NewAuthor{Address: alias}, true)
		if err != nil {
			t.Fatal(err)
		}
		if got := replyToAdded(in, out); got != want {
			t.Errorf("%q: Reply-To: is %q, want %q", value, got, want)
		}
		if got := replyToAdded(in, rewritten(t, in, alias)); !isASCII(got) {
			t.Errorf("%q: without SMTPUTF8 Reply-To: is %q", value, got)
		}
	}
}

func TestAReplyToWithAnAddressStays(t *testing.T) {
	for _, fields := range []string{
		"Reply-To: Bob x@shop.example\r\nFrom: alice@bank.example\r\n",
		"Reply-To: <<x@shop.example>>\r\nFrom: alice@bank.example\r\n",
		"Reply-To: nobody\r\nFrom: Alice\r\n", // then there is nothing better
		"Reply-To: <>\r\nReply-To: x@shop.example\r\nFrom: alice@bank.example\r\n",
	} {
		in := header(fields)
		out := rewritten(t, in, alias)
		checkInvariants(t, in, out)
		if got := replyToAdded(in, out); got != "kept" {
			t.Errorf("%q: %q", fields, got)
		}
	}
}
