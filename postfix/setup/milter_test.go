package setup

import (
	"strings"
	"testing"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
	"postmend/tests/peer"
)

func TestTheMilterStandsInFrontOfOthersOnceAndGoesAgain(t *testing.T) {
	peer.Long(t)
	for name, others := range map[string]string{
		"none": "", "one": "inet:127.0.0.1:8891",
		"two": "inet:127.0.0.1:8891, { unix:/run/x, default_action=accept }",
	} {
		t.Run(name, func(t *testing.T) {
			main := ""
			if others != "" {
				main = "smtpd_milters = " + others + "\n"
			}
			h := newHost(t, main, "")
			h.wanted.Milter = Spawned
			h.apply(100)
			c := h.open()
			entries := postconf.List(c.Get("smtpd_milters"))
			address, attributes := layout.MilterOf(entries[0])
			if address != "unix:private/postmend-milter" || attributes["default_action"] != "accept" {
				t.Errorf("smtpd_milters = %s", c.Get("smtpd_milters"))
			}
			if rest := strings.Join(entries[1:], ", "); rest != others {
				t.Errorf("the others: %q, were %q", rest, others)
			}
			service, found := c.Service(layout.MilterID)
			if !found || !strings.HasSuffix(service.Line,
				"user=postmend argv=/usr/local/bin/postmend milter") {
				t.Errorf("service: %q", service.Line)
			}
			if p, err := h.plan(); err != nil || len(p.Changes) > 0 {
				t.Errorf("a second run changes %+v, %v", p.Changes, err)
			}
			h.wanted.Milter = "" // as a run without the flag has it
			if p, err := h.plan(); err != nil || len(p.Changes) > 0 {
				t.Errorf("a run without the flag changes %+v, %v", p.Changes, err)
			}
			h.undo()
			if c := h.open(); c.Get("smtpd_milters") != others {
				t.Errorf("after undo: %q", c.Get("smtpd_milters"))
			} else if _, found := c.Service(layout.MilterID); found {
				t.Error("after undo the service is there")
			}
		})
	}
}

func TestAResidentMilterNeedsNoService(t *testing.T) {
	h := newHost(t, "", "")
	h.wanted.Milter = "unix:postmend/milter"
	h.apply(100)
	c := h.open()
	if address, _ := layout.MilterOf(c.Get("smtpd_milters")); address != "unix:postmend/milter" {
		t.Errorf("smtpd_milters = %s", c.Get("smtpd_milters"))
	}
	if _, found := c.Service(layout.MilterID); found {
		t.Error("there is a service")
	}
}

// With the milter in front, the transport mends more and costs local mail nothing, if nothing leads past it.
func TestWithTheMilterTheTransportIsChosenUnlessMailCouldLeavePastIt(t *testing.T) {
	peer.Long(t)
	for _, row := range []struct {
		main, milter string
		want         Mode
	}{
		{"", "", ContentFilter},
		{"", Spawned, Transport},
		{"", "unix:postmend/milter", Transport},
		{"smtpd_milters = " + layout.MilterEntry(layout.MilterAddress) + "\n", "", Transport},
		{"transport_maps = inline:{ a=smtp: }\n", Spawned, ContentFilter},
		{"sender_dependent_default_transport_maps = inline:{ a=smtp: }\n", Spawned, ContentFilter},
		{"content_filter = smtp:[127.0.0.1]:10024\n", "", Transport},
		{"content_filter = " + layout.ContentFilter + "\n", Spawned, ContentFilter},
	} {
		h := newHost(t, row.main, "")
		c := h.open()
		domains, err := ReadDomains(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		mode, why, err := ChooseMode(c, domains, h.dir+"/postmend.toml", "", row.milter)
		if err != nil || mode != row.want {
			t.Errorf("%q, %q: %s (%s), %v, want %s", row.main, row.milter, mode, why, err, row.want)
		}
	}
}

func TestOneMilterTakesThePlaceOfTheOther(t *testing.T) {
	peer.Long(t)
	for _, others := range []string{"", "inet:127.0.0.1:8891"} {
		h := newHost(t, "smtpd_milters = "+others+"\n", "")
		h.wanted.Milter = Spawned
		h.apply(100)
		h.wanted.Milter = "unix:postmend/milter"
		h.apply(100)
		c := h.open()
		entries := postconf.List(c.Get("smtpd_milters"))
		address, _ := layout.MilterOf(entries[0])
		if rest := strings.Join(entries[1:], ", "); address != "unix:postmend/milter" || rest != others {
			t.Errorf("smtpd_milters = %s", c.Get("smtpd_milters"))
		}
		if s, found := c.Service(layout.MilterID); found || c.IsSet(layout.MilterTimeLimit.Name) {
			t.Errorf("left behind: %q %q", s.Line, c.Get(layout.MilterTimeLimit.Name))
		}
		// Two, as a setup before this one left them, become one.
		h.run([]Step{{Action: c.SetCommand(postconf.Parameter{Name: "smtpd_milters",
			Value: c.Get("smtpd_milters") + ", " + layout.MilterEntry(layout.MilterAddress)})}})
		h.apply(100)
		if c := h.open(); strings.Count(c.Get("smtpd_milters"), "postmend") != 1 {
			t.Errorf("smtpd_milters = %s", c.Get("smtpd_milters"))
		}
		h.wanted.Milter = Spawned // and back
		h.apply(100)
		if c := h.open(); !strings.Contains(c.Get("smtpd_milters"), layout.MilterAddress) ||
			strings.Count(c.Get("smtpd_milters"), "postmend") != 1 {
			t.Errorf("smtpd_milters = %s", c.Get("smtpd_milters"))
		} else if _, found := c.Service(layout.MilterID); !found {
			t.Error("no service")
		}
		h.undo()
		if c := h.open(); c.Get("smtpd_milters") != others || strings.Contains(h.read(), "postmend") {
			t.Errorf("after undo: %q\n%s", c.Get("smtpd_milters"), h.read())
		}
	}
}
