package author

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	netmail "net/mail"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"

	"github.com/emersion/go-message/mail"

	"postmend/dkim"
	"postmend/filter/domain"
	"postmend/tests/peer"
)

const alias = "alias@example.org"

func TestTheNewFromFieldNamesTheOldAuthorAndHasOneAddress(t *testing.T) {
	for _, c := range fromCases {
		in := header(c.header)
		out := rewritten(t, in, alias)
		if got, want := checkInvariants(t, in, out), c.name+" via example.org"; got != want {
			t.Errorf("%s: name is %q, want %q", c.why, got, want)
		}
		if got := replyToAdded(in, out); got != c.replyTo {
			t.Errorf("%s: Reply-To is %q, want %q", c.why, got, c.replyTo)
		}
	}
}

// pythonReads prints what the email package, its newer and its older parser, makes of each header of a JSON
// list.
const pythonReads = `
import email, email.header, email.policy, email.utils, json, sys
out = []
for text in json.load(sys.stdin):
    raw = text.encode("latin-1") + b"\r\nbody\r\n"
    m = email.message_from_bytes(raw, policy=email.policy.default)
    old = email.message_from_bytes(raw, policy=email.policy.compat32)
    fields = m.get_all("From", [])
    reply = [h for h in m.get_all("Reply-To", []) if str(h).strip()]
    name, address = email.utils.parseaddr(old["From"])
    out.append({
        "Fields": len(fields),
        "Names": [a.display_name for a in fields[0].addresses],
        "Addresses": [address] + [a.addr_spec for a in fields[0].addresses],
        "OldName": str(email.header.make_header(email.header.decode_header(name))),
        "ReplyTo": ", ".join(a.username + "@" + a.domain for h in reply for a in h.addresses),
        "Defects": [str(d) for h in [fields[0]] + reply for d in h.defects],
    })
json.dump(out, sys.stdout)
`

// pythonRead is what Python's email package reads in a header.
type pythonRead struct {
	Fields                    int
	Names, Addresses, Defects []string
	OldName, ReplyTo          string
}

// readByPython has headers read, given with a character for each octet.
func readByPython(t *testing.T, headers []string) (read []pythonRead) {
	t.Helper()
	python := peer.Need(t, "python3")
	input, err := json.Marshal(headers)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", pythonReads)
	cmd.Stdin = bytes.NewReader(input)
	output, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(output, &read); err != nil || len(read) != len(headers) {
		t.Fatalf("%d answers for %d headers: %v", len(read), len(headers), err)
	}
	return read
}

func TestPythonReadsTheSame(t *testing.T) {
	headers := make([]string, len(fromCases))
	for i, c := range fromCases {
		headers[i] = latin1(joined(rewritten(t, header(c.header), alias)))
	}
	read := readByPython(t, headers)
	for i, c := range fromCases {
		got := read[i]
		if got.Fields != 1 || !slices.Equal(got.Addresses, []string{alias, alias}) || len(got.Defects) > 0 {
			t.Errorf("%s: %+v", c.why, got)
		}
		// Python's newer parser shows the blank between two encoded words, which RFC 2047 section 6.2 says
		// not to; its older one does not.
		want := c.name + " via example.org"
		if got.OldName != want || len(got.Names) != 1 || noBlanks(got.Names[0]) != noBlanks(want) {
			t.Errorf("%s: names are %q and %q, want %q", c.why, got.OldName, got.Names, want)
		}
		if want := strings.NewReplacer("kept", "x@shop.example", `"`,
			"").Replace(c.replyTo); got.ReplyTo != want {
			t.Errorf("%s: Reply-To is %q, want %q", c.why, got.ReplyTo, want)
		}
	}
}

func TestWhatTheOldFieldsSaidIsKeptWhereTheFirstStood(t *testing.T) {
	in := "Received: a\r\nFrom: =?utf-8?q?J=C3=B6rg?=\r\n\t<j@bank.example>\r\nSubject: x\r\n" +
		"From: K\xf6ln\x00 <k@shop.example>\r\nTo: y@example.org\r\n"
	want := "Received: a\r\n" +
		"From: =?utf-8?q?J=C3=B6rg_et_al=2E_via_example=2Eorg?= <alias@example.org>\r\n" +
		"Reply-To: j@bank.example, k@shop.example\r\n" +
		"X-Original-From: =?utf-8?q?J=C3=B6rg?= <j@bank.example>\r\n" +
		"X-Original-From: =?unknown-8bit?b?S/ZsbgA=?= <k@shop.example>\r\n" +
		"Subject: x\r\nTo: y@example.org\r\n"
	if got := joined(rewritten(t, header(in), alias)); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got, want := joined(rewritten(t, header("To: y@example.org\r\n"), alias)),
		"From: \"unknown sender via example.org\" <alias@example.org>\r\nTo: y@example.org\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheNewAddressIsAnEnvelopeAddress(t *testing.T) {
	for in, want := range map[string]string{
		"alias@example.org":        "<alias@example.org>",
		"a+b=c@Example.ORG":        "<a+b=c@Example.ORG>",
		"o'hara.a-b_c@example.org": "<o'hara.a-b_c@example.org>",
		"alias@xn--bcher-kva.test": "<alias@xn--bcher-kva.test>",
		"alias@example.org.":       "<alias@example.org>",
	} {
		got := string(rewritten(t, header("From: a@b.example\r\n"), in)[0])
		if !strings.HasSuffix(got, " "+want+"\r\n") {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{"", "alias", "@example.org", "alias@", "a\r\nBcc: x@example.org",
		"a\x00@example.org", "a@exa mple.org",
		"a@example.org> (x", "a@example.org, b@example.org>", "a@-x.example", "a@[x",
		strings.Repeat("x", 400) + "@example.org"} {
		if out, err := Rewrite(nil, NewAuthor{Address: in}, false); err == nil ||
			errors.Is(err, ErrNotASCII) {
			t.Errorf("%q: %q, %v", in, out, err)
		}
	}
	for _, in := range []string{"jörg@example.org", "alias@bücher.example", "\xff@example.org"} {
		if _, err := Rewrite(nil, NewAuthor{Address: in}, false); !errors.Is(err, ErrNotASCII) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// Quoted strings, routes and encoded words can be read as other addresses.
func TestAnAddressThatCouldBeReadAsAnotherIsNeverTheNewAuthor(t *testing.T) {
	for _, local := range []string{`"info+<ceo@bank.example>"`, `info+<ceo@bank.example>`, "a@b",
		`"ceo@bank.example"`, "odd local", `"odd local"`,
		`"plain"`, "a..b", ".a", "a.", `a"b`, `x<y>`, "a,b", "a;b", "group:a", "(a)b", `a\b`, "[a]",
		"ceo%bank.example", "bank.example!ceo", "=?utf-8?q?ceo=40bank.example?=", "a\tb",
		"a\u00a0b", "\uff20"} {
		if out, err := Rewrite(nil, NewAuthor{Address: local + "@example.org"}, false); err == nil {
			t.Errorf("%q: %q", local, out)
		}
	}
	// nobody signs for these
	for _, literal := range []string{"alias@[192.0.2.1]", "alias@[IPv6:2001:db8::1]"} {
		if out, err := Rewrite(nil, NewAuthor{Address: literal}, false); err == nil {
			t.Errorf("%q: %q", literal, out)
		}
	}
}

// The work is counted in allocations: twice the input, at most about twice as many; and none for what is
// beyond the limit.
func TestHugeFromFieldsCostNoMoreThanTheirSize(t *testing.T) {
	from := func(repeat string, octets int) dkim.Header {
		return dkim.Header{dkim.Field("From: " + strings.Repeat(repeat, octets/len(repeat)) + ",\r\n")}
	}
	for what, repeat := range map[string]string{
		"addresses": "Alice <alice@bank.example>,", "comments": "(", "closed comments": "()", "quotes": `"\`,
		"escapes": `\"`, "angles": "<",
		"encoded words": "=?utf-8?q?x?=", "broken encoded words": "=?a?q?x", "begun encoded words": "=?",
		"literals": "[", "8-bit": "ö",
		"labels": "a@ö.", "groups": "a:", "blanks": " ", "ats": "@", "words": "a b ", "empty": ",",
		"quoted": `"a"`, "character sets": "=?iso-8859-1?q?=E4?= =?utf-8?q?=E4?=",
		"shifts": "\x1b$", "shifted text": "\x1b$B!!\x1b(B ", "one address": "a@b.example ",
		"other addresses": "a@b.example b@b.example ", "dots": "a . ",
		"encoded addresses": "=?utf-8?q?=3Ca=40b=2Eexample=3E,?= ", "words to encode": "ö a ",
	} {
		var count [3]float64
		for i, octets := range []int{maxInput/2 - 100, maxInput - 100, 100_000 * len(repeat)} {
			in := from(repeat, octets)
			count[i] = testing.AllocsPerRun(1, func() {
				if _, err := Rewrite(in, NewAuthor{Address: alias}, false); err != nil {
					t.Error(err)
				}
			})
			checkInvariants(t, in, rewritten(t, in, alias))
		}
		if count[1] > 2.2*count[0]+100 || count[2] > 1.2*count[1]+100 {
			t.Errorf("%s: %v allocations for half of what is looked at, for all of it, for a huge field",
				what, count)
		}
	}
}

func TestHalfAnAddressIsNeverAnswered(t *testing.T) {
	pad := strings.Repeat("x", maxInput-len(" <alice@bank.exam"))
	for _, from := range []string{"From:" + pad + " <alice@bank.example>\r\n",
		"From:a@shop.example," + pad[15:] + " <alice@bank.example>\r\n"} {
		in := header(from)
		if got := replyToAdded(in, rewritten(t, in, alias)); strings.Contains(got, "alice") {
			t.Errorf("Reply-To: %s", got)
		}
	}
}

func FuzzRewrite(f *testing.F) {
	for _, c := range fromCases {
		f.Add(c.header, "", false)
	}
	f.Add("From: a@b.example\r\n", "c@d.example", true)
	f.Fuzz(func(t *testing.T, from, replyTo string, withReplyTo bool) {
		if withReplyTo {
			from = "Reply-To: " + replyTo + "\r\n" + from
		}
		one := "From: " + strings.NewReplacer("\r", " ", "\n", " ").Replace(from) + "\r\n"
		for _, in := range []dkim.Header{header(from), header(one)} {
			checkInvariants(t, in, rewritten(t, in, alias))
		}
	})
}

func header(text string) dkim.Header {
	h, _ := dkim.SplitHeader([]byte(text))
	return h
}

func rewritten(t testing.TB, in dkim.Header, address string) dkim.Header {
	t.Helper()
	out, err := Rewrite(in, NewAuthor{Address: address}, false)
	if err != nil {
		t.Fatalf("%q: %v", in, err)
	}
	return out
}

// checkInvariants asks for what must hold whatever arrives, and gives the decoded name.
func checkInvariants(t testing.TB, in, out dkim.Header) (name string) {
	t.Helper()
	var kept, others dkim.Header
	isNew := func(f dkim.Field) bool {
		return !slices.ContainsFunc(in, func(other dkim.Field) bool { return &other[0] == &f[0] })
	}
	addsReplyTo := slices.ContainsFunc(out, func(f dkim.Field) bool { return f.Is("Reply-To") && isNew(f) })
	for _, field := range in {
		if addsReplyTo && field.Is("Reply-To") {
			list, err := netmail.ParseAddressList(dkim.Unfold(field.Value()))
			if err == nil && len(list) > 0 {
				t.Errorf("%q gave way", field)
			}
		} else if !field.Is("From") {
			others = append(others, field)
		}
	}
	if addsReplyTo && len(
		slices.DeleteFunc(slices.Clone(out), func(f dkim.Field) bool { return !f.Is("Reply-To") })) > 1 {
		t.Error("several Reply-To: fields")
	}
	froms := 0
	for i, field := range out {
		switch {
		case field.Is("From"):
			froms++
			name = readFrom(t, field)
			checkLines(t, field)
		case len(kept) < len(others) && &field[0] == &others[len(kept)][0]:
			kept = append(kept, field)
		case !field.Is("Reply-To") && !field.Is("X-Original-From"):
			t.Errorf("field %d was not there before: %q", i, field)
		default:
			checkLines(t, field)
			checkReplyTo(t, field)
		}
	}
	if claimed := otherAddress(in, name); claimed != "" {
		t.Errorf("the name %q claims %s\n%q", name, claimed, joined(in))
	}
	if froms != 1 || len(kept) != len(others) {
		t.Errorf("%d From: fields; %d of %d others kept in order\n%q", froms, len(kept),
			len(others), joined(out))
	}
	return name
}

// otherAddress finds what reads as an address in a name, of a domain that is not that of the first author.
func otherAddress(in dkim.Header, name string) string {
	var old authors
	for _, field := range in {
		if field.Is("From") {
			old.read(dkim.Unfold(field.Value()[:min(len(field.Value()), maxInput)]))
		}
	}
	name = strings.TrimSuffix(name, " via example.org")
	for _, match := range addressLike.FindAllStringSubmatch(name, -1) {
		claimed := domain.Canonical(match[1])
		if len(old.list) == 0 || !strings.Contains(old.list[0].domain, claimed) &&
			registered(claimed) != registered(old.list[0].domain) {
			return match[0]
		}
	}
	return ""
}

var addressLike = regexp.MustCompile(`(?i)[\pL\pN]\W*(?:@|＠|﹫|\bat\b)\W*([\pL\pN-]+(?:[.．｡。․][\pL\pN-]+)+)`)

func registered(name string) string {
	if d, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		return d
	}
	return name
}

// readFrom parses a From: field with two libraries, and gives its decoded name.
func readFrom(t testing.TB, field dkim.Field) string {
	t.Helper()
	value := dkim.Unfold(field.Value())
	a, err := netmail.ParseAddressList(value)
	b, err2 := mail.ParseAddressList(value)
	if err != nil || err2 != nil || len(a) != 1 || len(b) != 1 || *a[0] != *b[0] || a[0].Address != alias {
		t.Fatalf("%q: %v %v, %v %v", field, a, err, b, err2)
	}
	name := a[0].Name
	again, _ := new(mime.WordDecoder).DecodeHeader(name)
	if strings.ContainsAny(name, "@＠﹫<>\"\\\r\n\x00") || again != name ||
		!strings.HasSuffix(name, " via example.org") {
		t.Errorf("the name is %q, decoded again %q", name, again)
	}
	return name
}

func checkReplyTo(t testing.TB, field dkim.Field) {
	t.Helper()
	if !field.Is("Reply-To") {
		return
	}
	list, err := netmail.ParseAddressList(dkim.Unfold(field.Value()))
	if err != nil || len(list) == 0 || len(list) > 5 {
		t.Errorf("%q: %d addresses, %v", field, len(list), err)
	}
}

// checkLines looks at a field of ours: printable ASCII in lines of at most 998 octets, each with something
// in it, folds of CRLF and a blank.
func checkLines(t testing.TB, field dkim.Field) {
	t.Helper()
	text, whole := strings.CutSuffix(string(field), "\r\n")
	lines := strings.Split(text, "\r\n")
	for i, line := range lines {
		if !whole || len(line) > 998 || strings.TrimSpace(line) == "" || i > 0 && line[0] != ' ' ||
			strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("line %d of %q", i+1, field)
		}
		if strings.Contains(line, "=?utf-8?") && field.Is("From") && len(line) > 76 &&
			!strings.Contains(line, "<") {
			t.Errorf("line %d has %d characters, more than RFC 2047 allows: %q", i+1, len(line), field)
		}
	}
}

// replyToAdded is the value of a Reply-To: that was not there before; "kept" if one was.
func replyToAdded(in, out dkim.Header) string {
	for _, field := range out {
		value := dkim.Unfold(field.Value())
		switch {
		case !field.Is("Reply-To") || value == "":
		case slices.ContainsFunc(in, func(old dkim.Field) bool { return &old[0] == &field[0] }):
			return "kept"
		default:
			return value
		}
	}
	return ""
}

func joined(h dkim.Header) string {
	var b strings.Builder
	for _, field := range h {
		b.Write(field)
	}
	return b.String()
}

func noBlanks(s string) string { return strings.Join(strings.Fields(s), "") }

// latin1 makes a character of each octet, so that JSON keeps them all.
func latin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}
