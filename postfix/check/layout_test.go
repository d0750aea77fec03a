package check

import (
	"slices"
	"strings"
	"testing"

	"postmend/postfix/layout"
)

// What setup writes, check judges.
func TestEachPartOfTheLayoutIsJudged(t *testing.T) {
	for _, m := range layout.Macros {
		if withoutFlag(m.Flag) == withoutFlag("") {
			t.Errorf("nothing tells what happens without %s", m.Flag)
		}
	}
	judged := []string{"content_filter", "receive_override_options", "smtpd_milters", "message_size_limit",
		"cleanup_service_name"}
	for _, o := range listenerOptions {
		judged = append(judged, o.name)
	}
	for _, o := range layout.ListenerOptions {
		if !slices.Contains(judged, o.Name) {
			t.Errorf("%s of the listener is not judged", o.Name)
		}
	}
	var named []string
	for _, o := range overrides {
		named = append(named, o.option)
	}
	value, _ := layout.ListenerOption("receive_override_options")
	written := strings.Split(value, ",")
	slices.Sort(named)
	slices.Sort(written)
	if !slices.Equal(named, written) {
		t.Errorf("receive_override_options: judged %q, written %q", named, written)
	}
}
