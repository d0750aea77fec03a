package tests

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"postmend/filter"
	"postmend/filter/config"
	"postmend/filter/plan"
	"postmend/tests/fromreaders"
)

// TestEveryDomainThatAReaderTakesForTheAuthorsIsOneOfOurs reads messages as we do and as programs do that
// nobody here wrote. A domain that only they see would be proved by us, unasked.
//
// FIELDS is how many are generated, SEED from what; those of testdata/from are always read.
func TestEveryDomainThatAReaderTakesForTheAuthorsIsOneOfOurs(t *testing.T) {
	t.Parallel()
	count, seed := 400, uint64(1)
	if n, err := strconv.Atoi(os.Getenv("FIELDS")); err == nil {
		count = n
	}
	if n, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("SEED=%d FIELDS=%d", seed, count)
	var messages [][]byte
	seeds, err := filepath.Glob("testdata/from/*.eml")
	if err != nil || len(seeds) == 0 {
		t.Fatalf("no seeds: %v", err)
	}
	for _, file := range seeds {
		message, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, message)
	}
	g := fromreaders.New(seed)
	for range count {
		messages = append(messages, g.Message())
	}
	ours := authorsOf(t, messages)
	var missed []string // shortest first
	for n, readings := range fromreaders.Read(t, messages) {
		var lines []string
		for _, r := range readings {
			for _, domain := range r.Domains() {
				if !slices.Contains(ours[n], domain) && !r.Misread(domain, ours[n]) {
					lines = append(lines, fmt.Sprintf("  %s: %s of %q", r.Reader, domain, r.Addresses))
				}
			}
		}
		if len(lines) > 0 {
			missed = append(missed,
				fmt.Sprintf("%q\n  we see %q\n%s", messages[n], ours[n],
					strings.Join(slices.Compact(lines), "\n")))
		}
	}
	slices.SortStableFunc(missed, func(a, b string) int { return len(a) - len(b) })
	for _, text := range missed[:min(len(missed), 20)] {
		t.Error(text)
	}
	if len(missed) > 0 {
		t.Errorf("of %d messages (SEED=%d), %d have readings that are not in our set", len(messages),
			seed, len(missed))
	}
}

// authorsOf is what `postmend explain` gives as the domains of From:.
func authorsOf(t testing.TB, messages [][]byte) [][]string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "postmend.toml")
	text := "hostname = \"mx.fwd.test\"\nlocal_domains = [\"fwd.test\"]\n[reinject]\ntarget = \"stdout:\"\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	settings, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := filter.New(settings, filter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	env := &plan.Envelope{Sender: "a@evil.example", Recipients: []plan.Recipient{{Address: "b@fwd.test"}}}
	authors := make([][]string, len(messages))
	for n, message := range messages {
		e, err := f.Explain(context.Background(), env, bytes.NewReader(message))
		if err != nil {
			t.Fatal(fmt.Errorf("%q: %w", message, err))
		}
		authors[n] = e.Authors
	}
	return authors
}
