package arrival

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"postmend/dkim"
	"postmend/filter/message/author"
)

const message = `Received: from mail.example.com by mx.example.org; Sat, 28 Nov 2026 12:00:00 +0000
From: Alice <alice@example.com>
To: Info <info@example.org>
Subject: Offer for the
 second quarter
Date: Sat, 28 Nov 2026 11:59:58 +0000
Message-ID: <1@example.com>
X-Other: free

Good morning,

here it is.
`

var (
	sender  = "alice+x;y=z@example.com"
	arrived = time.Unix(1764331327, 0)
	origin  = Origin{Time: arrived, Client: netip.MustParseAddr("2001:db8::25"), Name: "mail.example.com",
		Protocol: "ESMTP", HELO: "mail.example.com", Sender: &sender, Recipient: "jörg@example.org",
		Original: "info@example.org"}
)

func keys(t testing.TB, secrets ...string) Keys {
	t.Helper()
	var list [][]byte
	for _, secret := range secrets {
		list = append(list, []byte(secret))
	}
	keys, err := DeriveKeys(list)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// find gives the seal that holds for the author as well.
func find(k Keys, content Content) *Sealed {
	found, err := k.Find(content)
	if err != nil || found == nil || found.AuthorChanged {
		return nil
	}
	return found
}

func contentOf(text string) Content {
	header, n := dkim.SplitHeader([]byte(text))
	body := dkim.NewBodyHash(dkim.Relaxed)
	rest := strings.TrimPrefix(strings.TrimPrefix(text[n:], "\r"), "\n")
	body.Write([]byte(rest))
	body.Close()
	mailbox, _ := author.Find(header, nil).Mailbox()
	return Content{header, mailbox, body}
}

// seal puts a seal on top.
func seal(t testing.TB, k Keys, o Origin, text string) string {
	t.Helper()
	return strings.ReplaceAll(string(k.Seal(o, contentOf(text))), "\r\n", "\n") + text
}

func TestASealTellsWhatWasKnownAtArrival(t *testing.T) {
	k := keys(t, "a secret of some length")
	null := ""
	v4 := netip.MustParseAddr("192.0.2.1")
	for _, o := range []Origin{origin, {Time: arrived, Sender: &null}, {Time: arrived},
		{Time: arrived, Client: v4}} {
		text := seal(t, k, o, message)
		found := find(k, contentOf(text))
		if found == nil {
			t.Fatalf("no seal in\n%s", text)
		}
		if got := found.Origin; !reflect.DeepEqual(got, o) {
			t.Errorf("got %+v, want %+v", got, o)
		}
		if !found.Fits(contentOf(text)) {
			t.Error("it does not fit the message that it was made for")
		}
		field := text[:strings.Index(text, "Received:")]
		for line := range strings.SplitSeq(strings.TrimSpace(field), "\n") {
			odd := func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }
			if len(line) > maxLine+8 || strings.ContainsFunc(line, odd) {
				t.Errorf("line %q", line)
			}
		}
	}
}

func TestATextBeyondItsLimitIsNotWrittenDown(t *testing.T) {
	k := keys(t, "s")
	long := strings.Repeat("x", 5000)
	field := k.Seal(Origin{Time: arrived, Name: long, Protocol: long, HELO: long, Sender: &long,
		Recipient: long, Original: long}, contentOf(message))
	if len(field) > 500 {
		t.Fatalf("%d octets", len(field))
	}
	found := find(k, contentOf(string(field)+message))
	if found == nil || found.Sender != nil || found.HELO != "" {
		t.Errorf("got %+v: a sender that was not written down is not known", found)
	}
}

func TestFoldsBlanksAndLineEndsDoNotMatter(t *testing.T) {
	k := keys(t, "s")
	sealed := seal(t, k, origin, message)
	for name, change := range map[string]func(string) string{
		"CRLF": func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
		"an unfolded field": func(s string) string {
			return strings.ReplaceAll(s, "the\n second", "the   second")
		},
		"a folded field": func(s string) string { return strings.ReplaceAll(s, "Alice <", "Alice\n\t<") },
		"names in capitals": func(s string) string {
			return strings.ReplaceAll(s, "Message-ID:", "MESSAGE-ID:")
		},
		"blanks in lines": func(s string) string {
			return strings.ReplaceAll(s, "here it is.", "here  it is. \t")
		},
		"empty lines": func(s string) string { return s + "\n\n" },
		"fields on top": func(s string) string {
			return "X-Sieve: Pigeonhole\nReceived: from localhost\n" + s
		},
		"fields not covered": func(s string) string {
			return strings.ReplaceAll(s, "X-Other: free\n", "X-Spam: no\n")
		},
		"the seal folded elsewhere": func(s string) string {
			return strings.Replace(strings.Replace(s, "\n\t", " ", 20), "; f=", ";\n  f=", 1)
		},
	} {
		content := contentOf(change(sealed))
		if found := find(k, content); found == nil || !found.Fits(content) {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

func TestWhatIsCoveredCannotBeChanged(t *testing.T) {
	k := keys(t, "s")
	sealed := seal(t, k, origin, message)
	for name, change := range map[string][2]string{
		"subject":         {"Offer", "[list] Offer"},
		"no message id":   {"Message-ID: <1@example.com>\n", ""},
		"a second To":     {"To:", "To: x@example.net\nTo:"},
		"a Reply-To":      {"X-Other:", "Reply-To: x@example.net\nX-Other:"},
		"an empty Cc":     {"X-Other:", "Cc:\nX-Other:"},
		"a word":          {"here it is", "here it is not"},
		"joined words":    {"here it", "hereit"},
		"a footer":        {"is.\n", "is.\n-- \nlist\n"},
		"CR within":       {"it is", "it\ris"},
		"other signature": {"Good morning,\n\n", "Good morning,\n"},
	} {
		content := contentOf(strings.Replace(sealed, change[0], change[1], 1))
		if found := find(k, content); found == nil || found.Fits(content) {
			t.Errorf("%s: %+v, want a seal that does not fit", name, found)
		}
	}
}

func TestNoSealCountsThatIsNotOursForThisAuthor(t *testing.T) {
	k := keys(t, "s")
	sealed := seal(t, k, origin, message)
	field := sealed[:strings.Index(sealed, "Received:")]
	for name, text := range map[string]string{
		"none":           message,
		"two":            field + sealed,
		"another key":    seal(t, keys(t, "t"), origin, message),
		"another author": strings.Replace(sealed, "Alice <alice@", "Boss <boss@", 1),
		"a second From":  strings.Replace(sealed, "X-Other:", "From: boss@example.org\nX-Other:", 1),
		"no From":        strings.Replace(sealed, "From:", "X-From:", 1),
		"version":        strings.Replace(sealed, "v=1;", "v=2;", 1),
		"no version":     strings.Replace(sealed, "v=1; ", "", 1),
		"client":         strings.Replace(sealed, "2001:db8::25", "2001:db8::26", 1),
		"sender":         strings.Replace(sealed, "f=alice", "f=boss", 1),
		"time":           strings.Replace(sealed, "t=1764331327", "t=1764331328", 1),
		"a tag more":     strings.Replace(sealed, "v=1;", "v=1; x=1;", 1),
		"a tag twice":    strings.Replace(sealed, "v=1;", "v=1; v=1;", 1),
		"a tag less":     strings.Replace(sealed, "p=ESMTP;", "", 1),
		"after b":        strings.Replace(sealed, "Received:", " ; x=1\nReceived:", 1),
		"NUL":            strings.Replace(sealed, "v=1;", "v=\x001;", 1),
		"empty":          FieldName + ":\n" + message,
		"semicolons":     FieldName + ": " + strings.Repeat(";", 60_000) + "\n" + message,
		"64 KiB":         strings.Replace(sealed, "v=1;", "v=1; x="+strings.Repeat("x", 64<<10)+";", 1),
		"no HMAC":        field[:strings.LastIndex(field, "b=")] + "b=\n" + message,
	} {
		if text == sealed {
			t.Fatalf("%s changes nothing", name)
		}
		if found := find(k, contentOf(text)); found != nil {
			t.Errorf("%s: %+v", name, found)
		}
	}
	if find(keys(t, "new", "s"), contentOf(sealed)) == nil {
		t.Error("after a new secret was put above the old one, a seal of the old one does not count")
	}
	if find(Keys{}, contentOf(sealed)) != nil {
		t.Error("without any key, a seal counts")
	}
}

func TestASealHasItsTime(t *testing.T) {
	s := Sealed{Origin: Origin{Time: arrived}}
	const day = 24 * time.Hour
	for age, want := range map[time.Duration]bool{0: true, time.Second: true, day: true, 5 * day: true,
		5*day + time.Second: false, -day: true, -day - time.Second: false} {
		if got := s.Current(arrived.Add(age), 5*day); got != want {
			t.Errorf("after %v: %t", age, got)
		}
	}
}

// TestAnyChangedOctetIsNoticed changes one octet at a time, anywhere in what is covered.
func TestAnyChangedOctetIsNoticed(t *testing.T) {
	k := keys(t, "s")
	covered := "From: alice@example.com\nTo: info@example.org\nSubject: x\nDate: y\nMessage-ID: <1@x>\n\n" +
		"body text\n"
	sealed := []byte(seal(t, k, origin, covered))
	random := rand.New(rand.NewPCG(1, 2))
	blank := func(c byte) bool { return strings.IndexByte(" \t\r\n", c) >= 0 }
	for at := range sealed {
		changed := bytes.Clone(sealed)
		for changed[at] == sealed[at] || blank(changed[at]) {
			changed[at] = byte(random.IntN(256))
		}
		inBody := at >= len(sealed)-len("\nbody text\n")
		if blank(sealed[at]) || changed[at]|0x20 == sealed[at]|0x20 && !inBody {
			continue // field names may be in any case
		}
		content := contentOf(string(changed))
		if found := find(k, content); found != nil && found.Fits(content) {
			t.Errorf("octet %d, %q for %q, is not noticed", at, changed[at], sealed[at])
		}
	}
}

// TestNoWordCanBeChanged is a mutation test: covered fields and the body's words are changed, doubled,
// removed and swapped at random, and no such message fits; folds, blanks and line ends are changed, and
// each fits.
func TestNoWordCanBeChanged(t *testing.T) {
	k := keys(t, "s")
	random := rand.New(rand.NewPCG(15, 1))
	for range 3000 {
		text := strings.Replace(message, "here it is.",
			strings.Repeat("all work and no play ", random.IntN(20)), 1)
		sealed := seal(t, k, origin, text)
		top := sealed[:len(sealed)-len(text)]
		words := strings.SplitAfter(text[strings.Index(text, "From:"):], " ")
		n := random.IntN(len(words))
		if strings.Contains(words[n], "X-Other") || n > 0 && strings.HasSuffix(words[n-1], "X-Other: ") {
			continue
		}
		before := strings.Join(words, "")
		switch random.IntN(4) {
		case 0:
			words[n] = "other " + words[n]
		case 1:
			words[n] += words[n]
		case 2:
			words = append(words[:n:n], words[n+1:]...)
		case 3:
			m := random.IntN(len(words))
			words[n], words[m] = words[m], words[n]
		}
		changed := strings.Join(words, "")
		isSame := strings.Join(strings.Fields(before), " ") == strings.Join(strings.Fields(changed), " ")
		content := contentOf(top + changed)
		if found := find(k, content); found != nil && found.Fits(content) && !isSame {
			t.Fatalf("changed from\n%s\nto\n%s", before, changed)
		}

		spaced := strings.Join(strings.SplitAfter(before, " "), strings.Repeat(" ", random.IntN(3)))
		spaced = strings.ReplaceAll(spaced, "\n", []string{"\n", "\r\n", " \n", "\t \r\n"}[random.IntN(4)])
		spaced = strings.Replace(spaced, "\t \r\n\t \r\n", "\r\n\r\n", 1) // the end of the header
		spaced = strings.Replace(spaced, " \n \n", "\n\n", 1)
		content = contentOf(top + spaced)
		if found := find(k, content); found == nil || !found.Fits(content) {
			t.Fatalf("does not fit:\n%q", spaced)
		}
	}
}

// TestWhatTheMailSystemAddsDoesNotMatter: Pigeonhole adds a Message-ID, cleanup(8) that and a Date, to
// what has none.
func TestWhatTheMailSystemAddsDoesNotMatter(t *testing.T) {
	k := keys(t, "s")
	const bare = "From: alice@example.com\nSubject: x\n\nbody\n"
	const id, date = "Message-ID: <2@mx.example.org>\n", "Date: Sat, 28 Nov 2026 12:00:00 +0000\n"
	sealed := seal(t, k, origin, bare)
	for added, want := range map[string]bool{id: true, date: true, id + date: true, id + id: false,
		"To: x\n": false, "Reply-To: x@example.net\n": false, id + "Cc: x\n": false} {
		content := contentOf(added + sealed)
		if found := find(k, content); found == nil || found.Fits(content) != want {
			t.Errorf("with %q added it fits: %t", added, !want)
		}
	}
}

func FuzzFind(f *testing.F) {
	k := keys(f, "s")
	f.Add([]byte(seal(f, k, origin, message)))
	f.Add([]byte(FieldName + ": v=1; t=1; hf=x; hh=y; b=AAAA\nFrom: a@b.example\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		content := contentOf(string(text))
		if found := find(k, content); found != nil {
			found.Fits(content)
			tags, _, ok := parse(dkim.Field(content.Header[indexOfField(content.Header)]).Value())
			if again, _ := tags.sealed(); !ok || again == nil {
				t.Error("found, but not parsed")
			}
		}
		parse(text)
	})
}

func indexOfField(h dkim.Header) int {
	for i, f := range h {
		if f.Is(FieldName) {
			return i
		}
	}
	return 0
}

func FuzzTextsComeBack(f *testing.F) {
	f.Add("a;b= c\x00ü\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := decode(encode(text)); err != nil || got != text {
			t.Errorf("%q came back as %q, %v", text, got, err)
		}
	})
}
