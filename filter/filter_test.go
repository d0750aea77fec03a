package filter

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postmend/filter/cause"
	"postmend/filter/config"
)

// What New finds is named as config.Load names it: the file and the key, in one line.
func TestWhatNewFindsIsNamedByFileAndKey(t *testing.T) {
	for _, c := range []struct{ text, key string }{
		{"local_domains = [\"a b\"]\n", "local_domains: "},
		{"local_domains_file = \"/nonexistent/domains\"\n", "local_domains_file: "},
		{"[[spam]]\nfield = \"X\"\nvalue = \"Y\"\naction = \"redirect\"\nredirect = \"a@gmail.example\"\n",
			"spam, number 1: redirect: the domain of \"a@gmail.example\" is not in local_domains"},
		{"[arc]\ntrusted_sealers = [\"a b\"]\n", "arc: trusted_sealers: "},
		{"[arc]\nonly_for = [\"a b\"]\n", "arc: only_for: "},
		{"[dmarc]\nforce_munge = [\"a b\"]\nforbid_munge = [\"c d\"]\n", "dmarc: force_munge: "},
		{"[dmarc]\nforce_munge_file = \"/nonexistent\"\n", "dmarc: force_munge_file: "},
		{"[reinject]\ntarget = \"smtp://a b\"\n", "reinject: target "},
	} {
		path := filepath.Join(t.TempDir(), "postmend.toml")
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		settings, err := config.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = New(settings, Options{})
		var failure *cause.Failure
		if !errors.As(err, &failure) || !strings.HasPrefix(failure.Err.Error(), path+": "+c.key) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}
