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

func TestAnswersGetTheClassThatAPersonGaveThem(t *testing.T) {
	r := rules(t)
	for _, name := range []string{"smtp-field-manual.tsv", "more.tsv", "seen.tsv", "heldout.tsv"} {
		var all, right, auth, authRight int
		for _, l := range labels(t, name) {
			got := r.Classes[r.Classify(l.text, "").Class].Name
			isAuth := false
			for _, class := range r.Classes {
				isAuth = isAuth || class.Name == l.class && class.Authentication
			}
			all++
			if isAuth {
				auth++
			}
			if got != l.class {
				t.Logf("%s: %s, labelled %s: %s", name, got, l.class, refusal.Normalise(l.text))
				continue
			}
			right++
			if isAuth {
				authRight++
			}
		}
		t.Logf("%s: %d of %d (%.1f%%) are right, of those about authentication %d of %d (%.1f%%)", name, right, all, percent(right, all),
			authRight, auth, percent(authRight, auth))
		if percent(right, all) < 90 || percent(authRight, auth) < 95 {
			t.Errorf("%s: want 90%% of all, and 95%% of those about authentication", name)
		}
	}
}

func percent(part, whole int) float64 { return 100 * float64(part) / float64(whole) }
