package check

import (
	"strings"
	"testing"
)

// TestCheckFindsWhatSealsOfArrivalLack: secrets, and in transport mode a first pass. With seal = false,
// nothing.
func TestCheckFindsWhatSealsOfArrivalLack(t *testing.T) {
	for _, row := range []struct {
		name                      string
		seals, secrets, transport bool
		want                      string
	}{
		{"all is there", true, true, false, ""},
		{"no secrets", true, false, false, "arrival-secrets"},
		{"transport mode", true, true, true, "arrival-transport"},
		{"no seals", false, false, true, ""},
	} {
		main := mainLines
		if row.transport {
			main = strings.Replace(main, "content_filter =", "default_transport =", 1)
		}
		h := hostOf(t, main, masterLines, postmend{Seals: row.seals, HasSecrets: row.secrets})
		var names []string
		for _, f := range apply("Postfix", arrivalRules, h) {
			names = append(names, f.Name)
		}
		if got := strings.Join(names, " "); got != row.want {
			t.Errorf("%s: found %q, want %q", row.name, got, row.want)
		}
	}
}
