package check

import (
	"strings"
	"testing"
)

func TestASpamRedirectInTransportModeIsAFault(t *testing.T) {
	for _, row := range []struct {
		redirect  string
		transport bool
		want      int
	}{{"spam@example.org", true, 1}, {"spam@example.org", false, 0}, {"", true, 0}} {
		main := mainLines
		if row.transport {
			main = strings.Replace(main, "content_filter =", "default_transport =", 1)
		}
		h := hostOf(t, main, masterLines, postmend{SpamRedirect: row.redirect})
		if found := apply("Postfix", spamRules, h); len(found) != row.want {
			t.Errorf("%+v: found %v", row, found)
		}
	}
}
