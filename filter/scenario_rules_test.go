package filter

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"postmend/filter/cause"
	"postmend/tests/peer"

	"github.com/BurntSushi/toml"
)

// relaxations are the settings by which the operator lets more mail be rewritten, or less of it be signed.
// They trust somebody, but none of those who forge in the scenarios; where they name a domain of ours, that
// must not help anybody.
var relaxations = map[string]string{
	"munge-always": `[dmarc]
munge_from = "always"
`,
	"destination": `[[dmarc.destination]]
domain = ".example"
munge_from = "always"
[[dmarc.destination]]
domain = "example"
munge_from = "always"
`,
	"trusted-authors": `[[dmarc.trusted_authors]]
domain = "partner.example"
spf = "evil.example"
[[dmarc.trusted_authors]]
domain = "bank.example"
network = "203.0.113.0/24"
[[dmarc.trusted_authors]]
domain = "bank.example"
spf = "mail.partner.example"
[[dmarc.trusted_authors]]
domain = "example.org"
network = "192.0.0.0/8"
[[dmarc.trusted_authors]]
domain = ".example.org"
network = "192.0.0.0/8"
[[dmarc.trusted_authors]]
domain = "example.org"
spf = "evil.example"
[[dmarc.trusted_authors]]
domain = "srs.example.org"
network = "198.51.100.0/24"
`,
	"trusted-sealers": `[arc]
trusted_sealers = ["list.example", "second.example", "trusted.example", "bank.example"]
`,
	"from-name": `[dmarc]
from_name = "{name} {local} {domain}"
`,
	"spam-unsigned": `[[spam]]
field = "Subject"
value = "hello"
action = "unsigned"
`,
}

// TestWhatIsHeldStaysHeldWithEachRule plays all scenarios whose message does not pass DMARC at a stranger's
// receiver once more with each rule on. What did not leave does not leave; and the rules of all scenarios
// hold: nothing passes that did not pass on arrival, and From: is rewritten only where the rule says so.
func TestWhatIsHeldStaysHeldWithEachRule(t *testing.T) {
	peer.Long(t)
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	old := os.Getenv("GODEBUG") // t.Setenv is not for parallel tests
	os.Setenv("GODEBUG", "rsa1024min=0")
	w := newWorld(t)
	var held atomic.Int64
	t.Cleanup(func() {
		os.Setenv("GODEBUG", old)
		if n := held.Load(); n < int64(40*len(relaxations)) {
			t.Errorf("%d messages were held", n)
		}
	})
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			s := w.read(t, file)
			base := w.play(t, s)
			rules := relaxations
			if strings.Contains(s["zone"], " DROP") { // it waits for DNS each time
				rules = map[string]string{"all": ""}
				for _, config := range relaxations {
					rules["all"] = overlay(t, rules["all"], config)
				}
			}
			if base.passedOnArrival(t) {
				return
			}
			// What waits for DNS may leave with another sender instead; checkRules has the last word.
			isHeld := len(base.sent) == 0 && (base.err == nil || !cause.AsFailure(base.err).Temporary())
			for rule, config := range rules {
				if strings.Contains(s["config"], "[[spam]]") && strings.Contains(config, "[[spam]]") {
					continue // it would lose its own rules
				}
				with := maps.Clone(s)
				with["config"] = overlay(t, s["config"], config)
				o := w.play(t, with)
				o.checkRules(t)
				if isHeld && o.word() != base.word() {
					t.Errorf("with the rule %s it is %s, without %s", rule, o.word(), base.word())
				}
				if isHeld {
					held.Add(1)
				}
				if t.Failed() {
					t.Fatalf("%s: %s%s", rule, s["why"], o)
				}
			}
		})
	}
}

// overlay lays a configuration over another.
func overlay(t *testing.T, below, above string) string {
	t.Helper()
	lower, upper := map[string]any{}, map[string]any{}
	for text, into := range map[string]*map[string]any{below: &lower, above: &upper} {
		if _, err := toml.Decode(text, into); err != nil {
			t.Fatal(err)
		}
	}
	var text bytes.Buffer
	if err := toml.NewEncoder(&text).Encode(merge(lower, upper)); err != nil {
		t.Fatal(err)
	}
	return text.String()
}
