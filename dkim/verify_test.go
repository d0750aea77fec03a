package dkim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
)

// zone answers with TXT records, several with a line each; "SERVFAIL" fails, and what is missing does not
// exist.
type zone map[string]string

func (z zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	relative, isAbsolute := strings.CutSuffix(name, ".")
	text, found := z[relative]
	switch {
	case !isAbsolute:
		return nil, errors.New("a name without final dot")
	case !found:
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	case text == "SERVFAIL":
		return nil, &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
	}
	return strings.Split(text, "\n"), nil
}

// verifyMessage writes the body in pieces of 1000 octets.
func verifyMessage(t testing.TB, message string, o VerifyOptions) []Verification {
	t.Helper()
	header, n := SplitHeader([]byte(message))
	body := message[n:]
	body = body[len(regexp.MustCompile(`^\r*\n`).FindString(body)):]
	v := NewVerifier(header, o)
	for piece := range slices.Chunk([]byte(body), 1000) {
		if written, err := v.Write(piece); written != len(piece) || err != nil {
			t.Fatal(written, err)
		}
	}
	return v.Verify(t.Context())
}

// statuses are the verdicts in one line.
func statuses(list []Verification) string {
	var words []string
	for _, v := range list {
		words = append(words, strings.TrimSpace(string(v.Status)+" "+v.Reason))
	}
	return strings.Join(words, ", ")
}

const rfcRSA = "v=DKIM1; k=rsa; " +
	"p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4j" +
	"YfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPN" +
	"UYckcQ2QIDAQAB"

// RFC 6376 appendix A and RFC 8463 appendix A, with the keys that are published there.
func TestTheMessagesOfTheRFCsVerify(t *testing.T) {
	records := zone{
		"brisbane._domainkey.example.com": rfcRSA,
		"test._domainkey.football.example.com": "v=DKIM1; k=rsa; " +
			"p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J1" +
			"6JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2Ee" +
			"C3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
		"brisbane._domainkey.football.example.com": "v=DKIM1; k=ed25519; " +
			"p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
	}
	for file, want := range map[string]string{"rfc6376.eml": "pass", "rfc8463.eml": "pass, pass"} {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, lineEnd := range []string{"\n", "\r\n", "\r\r\n"} {
			message := strings.ReplaceAll(string(text), "\n", lineEnd)
			if got := statuses(verifyMessage(t, message, VerifyOptions{Resolver: records})); got != want {
				t.Errorf("%s with %q: %s", file, lineEnd, got)
			}
		}
	}
}

func TestAVerificationTellsWhatTheSignatureSays(t *testing.T) {
	by, records := ruleKeys(t)
	message := by.sign(t, with("s=testing", "c=relaxed/simple", "i=Joe@mail.example.org", "h=From : To:to",
		"l=3"), ruleHeader, ruleBody)
	got := verifyMessage(t, message, VerifyOptions{Resolver: records})[0]
	text := got.Signature
	got.Signature = ""
	want := Verification{
		Status: Pass, Domain: "example.org", Selector: "testing", Identity: "Joe@mail.example.org",
		Algorithm: "rsa-sha256",
		Header:    Relaxed, Body: Simple, SignedNames: []string{"from", "to", "to"}, Limited: true,
		Testing: true, KeyBits: 2048, Disputed: "l= covers only a part of the body",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if !strings.Contains(message, "b="+text+"\r\n") || len(text) != 344 {
		t.Errorf("b=%s", text)
	}
	message = by.sign(t, with("a=ed25519-sha256", "s=ed"), ruleHeader, ruleBody)
	if got := verifyMessage(t, message,
		VerifyOptions{Resolver: records})[0]; got.Identity != "@example.org" || got.KeyBits != 256 ||
		got.Limited || got.Testing {
		t.Errorf("%+v", got)
	}
	list := verifyMessage(t, ruleHeader+"\r\n"+ruleBody, VerifyOptions{Resolver: records})
	if len(list) != 0 {
		t.Errorf("without signature: %v", list)
	}
}

func TestAMessageWithoutBodyIsVerified(t *testing.T) {
	by, records := ruleKeys(t)
	for _, forms := range []string{"c=relaxed/relaxed", "c=simple/simple"} {
		message := by.sign(t, with(forms), ruleHeader, "")
		for _, end := range []string{"\r\n", "", "\r\n\r\n"} {
			got := statuses(verifyMessage(t, strings.TrimSuffix(message, "\r\n")+end,
				VerifyOptions{Resolver: records}))
			if got != "pass" {
				t.Errorf("%s, then %q: %s", forms, end, got)
			}
		}
	}
}

// counting notes who was asked for, and answers when all have been asked.
type counting struct {
	zone
	mu    sync.Mutex
	asked []string
	all   sync.WaitGroup
}

func (c *counting) LookupTXT(ctx context.Context, name string) ([]string, error) {
	c.mu.Lock()
	c.asked = append(c.asked, name)
	c.mu.Unlock()
	c.all.Done()
	c.all.Wait()
	return c.zone.LookupTXT(ctx, name)
}

func TestKeysAreLookedUpSideBySideAndOnce(t *testing.T) {
	by, records := ruleKeys(t)
	message := ruleHeader + "\r\n" + ruleBody
	for _, tags := range []string{with(), with("s=missing"), with("d=Example.ORG"), with("s=RSA"),
		with("s=both"), with("bh=AAAA", "s=star"), with("-v", "s=bare")} {
		signature, _, _ := strings.Cut(by.sign(t, tags, ruleHeader, ruleBody), "From:")
		message = signature + message
	}
	r := &counting{zone: records}
	r.all.Add(3) // Verify hangs unless it asks for all three before it has an answer
	got := statuses(verifyMessage(t, message, VerifyOptions{Resolver: r}))
	if want := "permerror v= is not 1, fail body hash did not verify, pass, pass, pass, permerror no key " +
		"record, pass"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	slices.Sort(r.asked)
	if want := []string{"both._domainkey.example.org.", "missing._domainkey.example.org.",
		"rsa._domainkey.example.org."}; !slices.Equal(r.asked, want) {
		t.Errorf("asked for %q, want %q", r.asked, want)
	}
}

func TestEveryErrorOfDNSButNotFoundIsTemporary(t *testing.T) {
	by, _ := ruleKeys(t)
	message := by.sign(t, with(), ruleHeader, ruleBody)
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("odd"), "temperror key look-up failed"},
		{context.DeadlineExceeded, "temperror key look-up failed"},
		{&net.DNSError{Err: "i/o timeout", IsTimeout: true}, "temperror key look-up failed"},
		{fmt.Errorf("wrapped: %w", &net.DNSError{Err: "no such host", IsNotFound: true}),
			"permerror no key record"},
		{nil, "permerror no key record"},
	} {
		got := statuses(verifyMessage(t, message, VerifyOptions{Resolver: failing{c.err}}))
		if got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

type failing struct{ err error }

func (f failing) LookupTXT(context.Context, string) ([]string, error) { return nil, f.err }

func TestOfSeveralRecordsTheFirstUsableCounts(t *testing.T) {
	by, records := ruleKeys(t)
	message := by.sign(t, with("s=rsa"), ruleHeader, ruleBody)
	const name = "rsa._domainkey.example.org"
	key, other := records[name], records["other._domainkey.example.org"]
	for _, c := range []struct{ why, text, want string }{
		{"something else first", "v=spf1 -all\nhello\n" + key, "pass"},
		{"a revoked key first", "v=DKIM1; p=\n" + key, "pass"},
		{"another key after it", key + "\n" + other, "pass"},
		{"another key first", other + "\n" + key, "fail signature did not verify"},
		{"none is usable", "v=DKIM1; p=\nhello", "fail key revoked"},
		{"too many", strings.Repeat("hello\n", 10) + key, "permerror key record: not a tag list"},
		{"too long", "v=DKIM1; n=" + strings.Repeat("x", 8<<10) + key, "permerror key record is too long"},
	} {
		got := statuses(verifyMessage(t, message, VerifyOptions{Resolver: zone{name: c.text}}))
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.why, got, c.want)
		}
	}
}

// RFC 6376 section 3.6.2.2: with several records, whatever they are, the result is not defined.
func TestAVerdictByOneOfSeveralRecordsSaysSo(t *testing.T) {
	by, records := ruleKeys(t)
	message := by.sign(t, with("s=rsa"), ruleHeader, ruleBody)
	const name = "rsa._domainkey.example.org"
	key, other := records[name], records["other._domainkey.example.org"]
	for text, want := range map[string]bool{key: false, key + "\n" + other: true, "v=spf1 -all\n" + key: true,
		"v=DKIM1; p=\n" + key: true} {
		list := verifyMessage(t, message, VerifyOptions{Resolver: zone{name: text}})
		if len(list) != 1 || list[0].Status != Pass || list[0].SeveralRecords != want {
			t.Errorf("%.60q: %+v, want several records %t", text, list, want)
		}
	}
}

func TestOnlySoManySignaturesCountFromTheTop(t *testing.T) {
	by, records := ruleKeys(t)
	good := by.sign(t, with(), ruleHeader, ruleBody)
	for _, c := range []struct{ above, limit, want int }{{9, 0, 10}, {10, 0, 10}, {500, 0, 10}, {2, 3, 3},
		{3, 3, 3}, {0, 1, 1}} {
		list := verifyMessage(t, strings.Repeat("DKIM-Signature: v=1\r\n", c.above)+good,
			VerifyOptions{Resolver: records, MaxSignatures: c.limit})
		limit := c.limit
		if limit == 0 {
			limit = 10
		}
		hasGood := len(list) > 0 && list[len(list)-1].Status == Pass
		if len(list) != c.want || hasGood != (c.above < limit) {
			t.Errorf("%+v: %d verdicts, the good one among them: %t", c, len(list), hasGood)
		}
	}
}

// RFC 6376 section 5.4.
func TestASignatureMaySignOthers(t *testing.T) {
	by, records := ruleKeys(t)
	header, body, _ := strings.Cut(by.sign(t, with(), ruleHeader, ruleBody), "\r\n\r\n")
	message := by.sign(t, with("h=from:dkim-signature"), header+"\r\n", body)
	if got := statuses(verifyMessage(t, message, VerifyOptions{Resolver: records})); got != "pass, pass" {
		t.Error(got)
	}
	message = strings.Replace(message, "h=from:to:subject;", "h=from:to:subject ;", 1)
	if got := statuses(verifyMessage(t, message,
		VerifyOptions{Resolver: records})); got != "fail signature did not verify, fail signature did "+
		"not verify" {
		t.Errorf("with a changed signature below: %s", got)
	}
}

// What no message needs costs no more than its size. Quadratic time would take hours here, and the test's
// time limit end it.
func TestHostileMessagesCostLinearTime(t *testing.T) {
	by, records := ruleKeys(t)
	names := "h=from" + strings.Repeat(":x", 999)
	for _, c := range []struct{ why, tags, header, body string }{
		{"many fields and names", with(names), "From: a\r\n" + strings.Repeat("X: 1\r\n", 200000), "x\r\n"},
		{"a field of many lines", with("h=from:x"),
			"From: a\r\nX: 1\r\n" + strings.Repeat(" x\r\n", 500000), "x\r\n"},
		{"a field of many lines, simple", with("h=from:x", "c=simple/simple"),
			"From: a\r\nX: 1\r\n" + strings.Repeat(" x\r\n", 500000), "x\r\n"},
		{"a long name", with(), "From: a\r\n" + strings.Repeat("x", 5<<20) + ": 1\r\n", "x\r\n"},
		{"line ends before text", with("c=simple/simple"), ruleHeader,
			strings.Repeat("\r\n", 5<<20) + "x\r\n"},
		{"blanks before text", with(), ruleHeader, strings.Repeat(" ", 10<<20) + "x\r\n"},
		{"a long line", with("c=simple/simple"), ruleHeader, strings.Repeat("x", 10<<20) + "\r\n"},
	} {
		signature, _, _ := strings.Cut(by.sign(t, c.tags, "From: a\r\n", "x\r\n"), "From:")
		got := statuses(verifyMessage(t, strings.Repeat(signature, 3)+c.header+"\r\n"+c.body,
			VerifyOptions{Resolver: records}))
		if strings.Contains(got, "temperror") {
			t.Errorf("%s: %s", c.why, got)
		}
	}
	for why, tags := range map[string]string{
		"a signature of many lines":  with("b=" + strings.Repeat("\r\n A", 500000)),
		"a signature of many blanks": with("x=" + strings.Repeat(" ", 5<<20) + "1"),
		"many tags":                  with() + strings.Repeat("; a=", 1<<20),
		"many names":                 with("h=from" + strings.Repeat(":x", 1<<20)),
		"a long l=":                  with("l=" + strings.Repeat("1", 1<<20)),
		"a long i=":                  with("i=" + strings.Repeat("x@", 1<<20) + "example.org"),
	} {
		for _, v := range verifyMessage(t, strings.Repeat("DKIM-Signature: "+tags+"\r\n", 3)+ruleHeader+
			"\r\n"+ruleBody, VerifyOptions{Resolver: records}) {
			if v.Status == Pass || len(fmt.Sprint(v)) > 5000 {
				t.Errorf("%s: %s, %.200v", why, v.Status, v)
			}
		}
	}
}

// RFC 8301 section 3.2 leaves keys of more than 4096 bits to the verifier; RFC 6376 section 8.4 warns of
// many signatures.
func TestSignaturesThatCostTooMuchAreNotVerified(t *testing.T) {
	by, records := ruleKeys(t)
	costly, _, _ := strings.Cut(by.sign(t, with("s=large"), ruleHeader, ruleBody), "From:")
	good := by.sign(t, with(), ruleHeader, ruleBody)
	want := []Status{Fail, Policy, Policy, Pass}
	for n, v := range verifyMessage(t, strings.Repeat(costly, 3)+good, VerifyOptions{Resolver: records}) {
		if v.Status != want[n] {
			t.Errorf("signature %d: %s (%s), want %s", n+1, v.Status, v.Reason, want[n])
		}
	}
}

func TestMemoryDoesNotGrowWithTheBody(t *testing.T) {
	by, records := ruleKeys(t)
	signature, _, _ := strings.Cut(by.sign(t, with("c=simple/simple"), ruleHeader, ruleBody), "From:")
	limited, _, _ := strings.Cut(by.sign(t, with("l=7"), ruleHeader, ruleBody), "From:")
	header, _ := SplitHeader([]byte(signature + limited + ruleHeader))
	part := bytes.Repeat([]byte("some text \t of a line\r\n\r\n \n"), 1000)
	spent := func(parts int) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		v := NewVerifier(header, VerifyOptions{Resolver: records})
		for range parts {
			v.Write(part)
		}
		v.Verify(t.Context())
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	if few, many := spent(10), spent(300); many > few+64<<10 {
		t.Errorf("%d octets were allocated for a body, %d for one thirty times as large", few, many)
	}
}

// Whatever a message and a key record hold, there is a verdict, and it can be printed.
func FuzzVerify(f *testing.F) {
	by, records := ruleKeys(f)
	for _, r := range rules {
		message := r.message(f, by)
		selector := regexp.MustCompile(`s=(\w+);`).FindStringSubmatch(message)
		if selector != nil && len(message) < 2000 {
			f.Add([]byte(message), records[selector[1]+"._domainkey.example.org"])
		}
	}
	for _, file := range []string{"rfc6376.eml", "rfc8463.eml"} {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, rfcRSA)
	}
	f.Fuzz(func(t *testing.T, message []byte, record string) {
		header, n := SplitHeader(message)
		verify := func(piece int) []Verification {
			v := NewVerifier(header, VerifyOptions{Resolver: oneRecord{record}})
			for part := range slices.Chunk(message[n:], piece) {
				v.Write(part)
			}
			return v.Verify(t.Context())
		}
		list := verify(7)
		if again := verify(len(message) + 1); !reflect.DeepEqual(list, again) {
			t.Errorf("in pieces %v, at once %v", list, again)
		}
		for _, v := range list {
			for _, text := range append(v.SignedNames, v.Reason, v.Domain, v.Selector, v.Identity,
				v.Algorithm, v.Signature) {
				if len(text) > 2000 ||
					strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("%q is not fit to print", text)
				}
			}
			if (v.Status == Pass) != (v.Reason == "") {
				t.Errorf("%s because of %q", v.Status, v.Reason)
			}
		}
	})
}

type oneRecord struct{ record string }

func (a oneRecord) LookupTXT(context.Context, string) ([]string, error) {
	return []string{a.record}, nil
}

func BenchmarkVerify10kB(b *testing.B) {
	by, records := ruleKeys(b)
	body := strings.Repeat("The quick brown fox jumps over the lazy dog.  \r\n", 200)
	message := []byte(by.sign(b, with(), ruleHeader, body))
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		header, _ := SplitHeader(message)
		v := NewVerifier(header, VerifyOptions{Resolver: records})
		io.WriteString(v, body)
		if list := v.Verify(b.Context()); list[0].Status != Pass {
			b.Fatal(list)
		}
	}
}
