package refusal_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postmend/postfix/maillog/refusal"
)

// labelled is an answer and the class that a person gave it. The labels were written before the rules.
type labelled struct{ hash, class, receiver, text string }

func labels(t testing.TB, name string) (list []labelled) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 4)
		if strings.HasPrefix(line, "#") {
			continue
		}
		l := labelled{fields[0], fields[1], fields[2], fields[3]}
		if hash(l.text) != l.hash {
			t.Errorf("%s: the label of %.60q belongs to another text", name, l.text)
		}
		list = append(list, l)
	}
	return list
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

func rules(t testing.TB) *refusal.Rules {
	t.Helper()
	r, err := refusal.New("")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sets are the labelled answers. What the rules are worth for answers that nobody has read is told by
// heldout.tsv alone.
var sets = []string{"smtp-field-manual.tsv", "more.tsv", "seen.tsv", "heldout.tsv", "found.tsv",
	"documented.tsv", "collected.tsv", "recalled.tsv", "public.tsv", "providers.tsv"}

// score counts answers, and those about authentication among them.
type score struct{ all, right, auth, authRight int }

func (s *score) add(other score) {
	s.all, s.right = s.all+other.all, s.right+other.right
	s.auth, s.authRight = s.auth+other.auth, s.authRight+other.authRight
}

func TestAnswersGetTheClassThatAPersonGaveThem(t *testing.T) {
	r := rules(t)
	isAuth := map[string]bool{}
	for _, class := range r.Classes {
		isAuth[class.Name] = class.Authentication
	}
	var sum score
	for _, name := range sets {
		var s score
		for _, l := range labels(t, name) {
			one := score{all: 1}
			if isAuth[l.class] {
				one.auth = 1
			}
			if got := r.Classes[r.Classify(l.text, "").Class].Name; got == l.class {
				one.right, one.authRight = one.all, one.auth
			} else if name != "heldout.tsv" { // nobody looks at those
				t.Logf("%s: %s, labelled %s: %s", name, got, l.class, refusal.Normalise(l.text))
			}
			s.add(one)
		}
		t.Logf("%s: %d of %d (%.1f%%) are right, of those about authentication %d of %d (%.1f%%)", name,
			s.right, s.all, percent(s.right, s.all), s.authRight, s.auth, percent(s.authRight, s.auth))
		sum.add(s)
	}
	if percent(sum.right, sum.all) < 96 || percent(sum.authRight, sum.auth) < 98 {
		t.Errorf("of all sets %.1f%% are right, of those about authentication %.1f%%; want 96%% and 98%%",
			percent(sum.right, sum.all), percent(sum.authRight, sum.auth))
	}
}

func percent(part, whole int) float64 { return 100 * float64(part) / float64(whole) }

func TestWhatIsBesideAnAddressIsRead(t *testing.T) {
	for text, want := range map[string]string{
		"550 failure (bob@example.net:blocked)":     "failure (address:blocked)",
		"550 <bob@example.net>: no such user":       "<>: no such user",
		"550 bob@example.net... User unknown":       "address... user unknown",
		"550 user=bob@example.net is full":          "user=address is full",
		"554 Contact tosa@rx.t-online.de":           "contact tosa@rx.t-online.de",
		"550 see https://example.net/?id=a@b.c&x=1": "see https://example.net/?id=a@b.c&x=1",
	} {
		if got := refusal.Normalise(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// Each of these was put into another class before.
func TestAnswersThatLookLikeAnotherClass(t *testing.T) {
	r := rules(t)
	for _, c := range []struct{ want, answer string }{
		{"ptr-tls", "421 4.7.0 TLS required for RCPT domain, closing connection"},
		{"ptr-tls", "550 5.7.29 This mail was not sent over TLS"},
		{"reputation", "550 5.7.606 Access denied, banned sending IP [192.0.2.1]"},
		{"reputation", "550 5.7.1 spam rate of your IP is too high"},
		{"reputation", "550 This IP has sent too many messages this hour. IB504"},
		{"reputation", "421-4.7.28 Gmail has detected an unusual rate of mail originating from your " +
			"DKIM domain"},
		{"reputation", "421-4.7.28 Gmail has detected an unusual rate of mail originating from your " +
			"SPF domain"},
		{"auth-temporary", "450 4.4.0 <a@b.example> Temporary DMARC DNS lookup failure (G1E)"},
		{"format", "550 5.7.1 Header error (G18)"},
		{"unauthenticated", "550 Sender not accepted: SPF and DKIM both do not pass"},
		{"sender", "550 5.7.27 <a@b.example>: Sender address rejected: Domain does not accept mail (nullMX)"},
		{"mailbox", "556 5.1.10 Domain b.example does not accept mail (nullMX)"},
	} {
		if got := r.Classes[r.Classify(c.answer, "").Class].Name; got != c.want {
			t.Errorf("%s: %s, want %s", c.answer, got, c.want)
		}
	}
}
