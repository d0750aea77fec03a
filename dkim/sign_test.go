package dkim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
)

// sign signs a message whose body is written in pieces of 1000 octets.
func sign(t testing.TB, header, body string, keys ...*Key) (Header, error) {
	t.Helper()
	fields, n := SplitHeader([]byte(header))
	if n != len(header) {
		t.Fatalf("%q is no header", header)
	}
	s, err := NewSigner(fields, keys)
	if err != nil {
		return nil, err
	}
	h := NewBodyHash(Relaxed)
	for rest := body; len(rest) > 0; {
		piece := rest[:min(1000, len(rest))]
		if _, err := io.WriteString(h, piece); err != nil {
			t.Fatal(err)
		}
		rest = rest[len(piece):]
	}
	h.Close()
	return s.Sign(h, time.Now())
}

// hashed is a closed body in relaxed form.
func hashed(body []byte) *BodyHash {
	h := NewBodyHash(Relaxed)
	h.Write(body)
	h.Close()
	return h
}

// tagOf gives the value of a tag of a signature, without its folds.
func tagOf(t testing.TB, f Field, name string) string {
	t.Helper()
	value := regexp.MustCompile(`[ \t\r\n]`).ReplaceAllString(string(f.Value()), "")
	for t := range strings.SplitSeq(value, ";") {
		if v, found := strings.CutPrefix(t, name+"="); found {
			return v
		}
	}
	t.Fatalf("no tag %s= in %s", name, f)
	return ""
}

// RFC 8463 appendix A.3 gives the hash of the relaxed body; RFC 6376 section 3.4.4 that of an empty one.
func TestTheBodyHashesOfTheRFCs(t *testing.T) {
	key := newKey(t, "ed25519", "s")
	for body, want := range map[string]string{
		"Hi.\n\nWe lost the game.  Are you hungry yet?\n" +
			"\nJoe.\n": "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=",
		"":              "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
		"\r\n \r\n\t\n": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
		"Hi.\r\n\r\nWe lost the game. Are you hungry yet?\t\r\r\n\r\n" +
			"Joe.\r\n\r\n": "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=",
	} {
		fields, err := sign(t, "From: a@example.org\n", body, key)
		if err != nil {
			t.Fatal(err)
		}
		if got := tagOf(t, fields[0], "bh"); got != want {
			t.Errorf("%q: %s, want %s", body, got, want)
		}
	}
}

func TestASignatureSaysWhoSignedWhatAndHow(t *testing.T) {
	fields, err := sign(t, "From: a@example.org\n", "x\n", newKey(t, "", "2026a"),
		newKey(t, "ed25519", "2026e"))
	if err != nil {
		t.Fatal(err)
	}
	if len(fields) != 2 {
		t.Fatalf("%d signatures by two keys", len(fields))
	}
	for i, want := range []map[string]string{
		{"v": "1", "a": "rsa-sha256", "c": "relaxed/relaxed", "d": "example.org", "s": "2026a"},
		{"v": "1", "a": "ed25519-sha256", "c": "relaxed/relaxed", "d": "example.org", "s": "2026e"},
	} {
		if !fields[i].Is("DKIM-Signature") {
			t.Errorf("%s", fields[i])
		}
		for name, value := range want {
			if got := tagOf(t, fields[i], name); got != value {
				t.Errorf("signature %d: %s=%s, want %s", i, name, got, value)
			}
		}
		again, n := SplitHeader(fields[i])
		if len(again) != 1 || n != len(fields[i]) ||
			bytes.Count(fields[i], []byte("\n")) != bytes.Count(fields[i], []byte("\r\n")) {
			t.Errorf("%q is not one field with CRLF", fields[i])
		}
	}
}

// A field listed once more than it occurs cannot be added to (RFC 6376 section 8.15).
func TestFieldsAreSignedAndProtectedAgainstAdditions(t *testing.T) {
	key := newKey(t, "ed25519", "s")
	always := "from reply-to subject to cc"
	for _, c := range []struct{ why, header, want string }{
		{"these are protected even where there are none", "From: a@example.org\n", "from " + always},
		{"each instance is listed", "From: a@example.org\nSUBJECT: 1\nSubject : 2\n",
			"from subject subject " + always},
		{"these are protected where there is one",
			"Date: x\nMessage-ID: x\nMIME-Version: x\nContent-Type: x\nContent-Transfer-Encoding: x\n" +
				"In-Reply-To: x\nReferences: x\nOpenPGP: x\nAutocrypt: x\nFrom: x\n",
			"from " + always + strings.Repeat(" date message-id mime-version content-type "+
				"content-transfer-encoding in-reply-to references openpgp autocrypt", 2)},
		{"lists behind us may add these",
			"From: x\nSender: x\nList-Id: x\nList-Help: x\nList-Unsubscribe: x\nList-Unsubscribe-Post: x\n" +
				"List-Subscribe: x\nList-Post: x\nList-Owner: x\nList-Archive: x\n",
			"from " + always + " sender list-id list-help list-unsubscribe list-unsubscribe-post " +
				"list-subscribe list-post list-owner list-archive"},
		{"who resends may do it again",
			"From: x\nResent-Date: x\nResent-From: x\nResent-Sender: x\nResent-To: x\nResent-Cc: x\n" +
				"Resent-Message-ID: x\n",
			"from " + always + " resent-date resent-from resent-sender resent-to resent-cc " +
				"resent-message-id"},
		{"trace and what later hops change is not signed", "From: x\nReceived: x\nReturn-Path: x\n" +
			"DKIM-Signature: x\nARC-Seal: x\nX-Spam: x\nAuthentication-Results: x\nBcc: x\nComments: x\n",
			"from " + always},
	} {
		fields, err := sign(t, c.header, "x\n", key)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for name := range strings.SplitSeq(tagOf(t, fields[0], "h"), ":") {
			got[name]++
		}
		want := map[string]int{}
		for _, name := range strings.Fields(c.want) {
			want[name]++
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", c.why, got, want)
		}
	}
}

func TestWhatNoSignatureWouldHoldOverIsNotSigned(t *testing.T) {
	key := newKey(t, "ed25519", "s")
	for _, c := range []struct{ why, header, body string }{
		{"no From: field", "Subject: x\n", "x"},                         // RFC 6376 section 5.4
		{"a CR within a signed field", "From: x\nSubject: a\rb\n", "x"}, // RFC 5322 section 2.2
		{"a CR within the body", "From: x\n", "a\rb\n"},                 // RFC 5322 section 2.3
		{"a CR at the start of a line", "From: x\n", "a\n\rb\n"},
		{"more names than anybody needs", "From: x\n" + strings.Repeat("References: x\n", 400), "x"},
		{"a flood of fields", "From: x\n" + strings.Repeat("Cc: x\n", 200000), "x"},
	} {
		if fields, err := sign(t, c.header, c.body, key); !errors.Is(err, ErrUnsignable) {
			t.Errorf("%s: %q, %v", c.why, fields, err)
		}
	}
	for _, c := range []struct{ why, header, body string }{
		{"a CR within a field that is not signed", "From: x\nX-Odd: a\rb\n", "x\n"},
		{"several CRs before LF", "From: x\r\r\nSubject: a\r\r\n b\r\n", "x\r\r\n\r\r\n"},
		{"CRs at the very end, where the line end follows", "From: x\n", "x\r\r"},
		{"empty lines in any number", "From: x\n", strings.Repeat("\r\n", 1<<20) + "x"},
		{"more names than fit on a line", "From: x\n" + strings.Repeat("References: x\n", 90), "x"},
		{"empty lines at the end in any number", "From: x\n", "x" + strings.Repeat("\r\n", 1<<20)},
		{"many empty lines in one body, not in a row", "From: x\n", strings.Repeat("\n\n\n\nx", 1<<18)},
		{"many fields that are not signed", "From: x\n" + strings.Repeat("Received: x\n", 200000), "x\n"},
	} {
		if _, err := sign(t, c.header, c.body, key); err != nil {
			t.Errorf("%s: %v", c.why, err)
		}
	}
}

// RFC 5322 section 2.1.1: where a line can be folded, it has 78 octets at most.
func TestNoLineOfASignatureIsTooLong(t *testing.T) {
	text, err := GenerateKey("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("a234567890b234567890c234567890.", 3) + "example" // 100 octets
	key, err := LoadKey(long+"."+long, "selector."+strings.Repeat("s", 30), keyFile(t, text))
	if err != nil {
		t.Fatal(err)
	}
	signed := 0
	for n := range 100 {
		fields, err := sign(t, "From: x\n"+strings.Repeat("Message-ID: x\n", n), "x\n", key)
		if errors.Is(err, ErrUnsignable) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		signed++
		for line := range strings.SplitSeq(string(fields[0]), "\r\n") {
			if len(strings.ReplaceAll(line, "\t", "        ")) > 78 && !strings.HasPrefix(line, "\td=") &&
				!strings.HasPrefix(line, "\ts=") {
				t.Errorf("%d fields: a line of %d octets", n, len(line))
			}
		}
	}
	if signed < 50 {
		t.Errorf("only %d messages were signed", signed)
	}
}

func TestNoKeysGiveNoSignatures(t *testing.T) {
	if fields, err := sign(t, "From: x\n", "x\n"); err != nil || len(fields) != 0 {
		t.Errorf("%q, %v", fields, err)
	}
}

func FuzzSign(f *testing.F) {
	f.Add([]byte("From: a@example.org\nTo: b\n c\n\nbody\n\n x\n"))
	f.Add([]byte("from : a\r\nFrom:\r\n\t\r\n\r\nx  y\t\r\r\n"))
	key := newKey(f, "ed25519", "s")
	f.Fuzz(func(t *testing.T, raw []byte) {
		header, n := SplitHeader(raw)
		s, err := NewSigner(header, []*Key{key})
		if err != nil {
			if !errors.Is(err, ErrUnsignable) {
				t.Fatal(err)
			}
			return
		}
		body := raw[n:]
		body = body[emptyLine.FindIndex(body)[1]:]
		fields, err := s.Sign(hashed(body), time.Now())
		if err != nil {
			if !errors.Is(err, ErrUnsignable) {
				t.Fatal(err)
			}
			return
		}
		wire := toWire(fields, header, body)
		if got := msgauth(t, wire, []*Key{key}); len(got) == 0 || got[0] != "pass" {
			t.Errorf("%q does not verify: %q", wire, got)
		}
	})
}

// emptyLine is the line between header and body, if there is one.
var emptyLine = regexp.MustCompile(`^(\r*\n)?`)

func BenchmarkSign10kB(b *testing.B) {
	key := newKey(b, "rsa2048", "s")
	header := Header{Field("From: a@example.org\r\n"), Field("To: b@example.net\r\n"),
		Field("Subject: x\r\n"), Field("Date: x\r\n"), Field("Message-ID: <x@y>\r\n")}
	body := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, 0123456789 times.  \r\n"),
		10000/66)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		s, err := NewSigner(header, []*Key{key})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Sign(hashed(body), time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign50MB(b *testing.B) {
	key := newKey(b, "rsa2048", "s")
	header := Header{Field("From: a@example.org\r\n")}
	body := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, 0123456789 times.  \r\n"),
		50<<20/66)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		s, err := NewSigner(header, []*Key{key})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Sign(hashed(body), time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
