package setup

import (
	"strings"
	"testing"

	"postmend/postfix/postconf"
)

// After an undoing nothing may lead to a service that is gone: Postfix would defer all that mail, "mail
// transport unavailable", and the milter would be looked for in each session.
func TestUndoLeavesNothingThatLeadsToAServiceThatIsGone(t *testing.T) {
	h := newHost(t, "smtpd_milters = inet:127.0.0.1:8891\n", "submission inet n - y - - smtpd\n")
	h.wanted.Mode, h.wanted.Milter = Transport, Spawned
	before := h.read()
	h.apply(all)
	c := h.open()
	milters := c.Get("smtpd_milters")
	h.run([]Step{ // by hand, and by a milter that was added since
		{Action: c.SetCommand(
			postconf.Parameter{Name: "content_filter", Value: "postmend:dummy"},
			postconf.Parameter{Name: "relay_transport", Value: "postmend:"},
			postconf.Parameter{Name: "smtpd_milters", Value: milters + ", inet:127.0.0.1:11332"})},
		{Action: c.SetOptionCommand("submission/inet", "content_filter", "postmend:dummy")},
		{Action: c.SetOptionCommand("smtp/inet", "content_filter", "other:dummy")},
	})
	notes := h.undo()
	c = h.open()
	for _, name := range []string{"content_filter", "relay_transport", "default_transport"} {
		if c.IsSet(name) {
			t.Errorf("%s = %s", name, c.Get(name))
		}
	}
	if got := c.Get("smtpd_milters"); got != "inet:127.0.0.1:8891, inet:127.0.0.1:11332" {
		t.Errorf("smtpd_milters = %s; notes %q", got, notes)
	}
	for _, s := range c.Services() {
		want := map[string]string{"smtp/inet": "other:dummy"}[s.ID()]
		if s.Options["content_filter"] != want || strings.Contains(s.Line, "postmend") {
			t.Errorf("%s", s.Line)
		}
	}
	h.run([]Step{
		{Action: c.UnsetOptionCommand("smtp/inet", "content_filter")},
		{Action: c.UnsetOptionCommand("submission/inet", "content_filter")},
	})
	if after := h.read(); after != before {
		t.Errorf("after undo:\n%s\nbefore:\n%s", after, before)
	}
}

// The service that takes mail back from amavis maps no addresses: that is not what is in the way.
func TestAnotherFilterIsToldFirst(t *testing.T) {
	h := newHost(t, "content_filter = smtp-amavis:[127.0.0.1]:10024\n",
		"smtp-amavis unix - - n - 2 smtp\n127.0.0.1:10025 inet n - n - - smtpd\n"+
			"  -o content_filter=\n  -o receive_override_options=no_address_mappings\n")
	if _, err := h.plan(); err == nil || !strings.Contains(err.Error(), "--mode transport") {
		t.Errorf("%v", err)
	}
}
