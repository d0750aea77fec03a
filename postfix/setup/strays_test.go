package setup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postmend/postfix/layout"
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

// The Debian package in place of `make install`: all entries follow, without the flags of before. An entry
// that was changed by hand goes as well: the package is not removed while master.cf names the program.
func TestEveryServiceFollowsTheProgramAndGoes(t *testing.T) {
	for _, lmtp := range []string{"", layout.SpawnedLMTP} {
		h := newHost(t, "", "")
		before := h.read()
		h.wanted.Milter, h.wanted.LMTP = Spawned, lmtp
		h.apply(all)
		h.wanted.Milter, h.wanted.Program = "", "/usr/bin/postmend"
		h.apply(all)
		c := h.open()
		var changes []Step
		count := 0
		for _, s := range c.Services() {
			if strings.Contains(s.Line, "/usr/local/bin/postmend") {
				t.Errorf("left behind: %s", s.Line)
			} else if strings.Contains(s.Line, "/usr/bin/postmend") {
				count++
				edited := strings.Replace(s.Line, "user=postmend", "user=other", 1)
				changes = append(changes, Step{Action: c.SetServiceCommand(s.ID(), edited)})
			}
		}
		if count != 3 {
			t.Errorf("%d services run the program", count)
		}
		h.run(changes)
		notes := h.undo()
		if after := h.read(); after != before {
			t.Errorf("after undo:\n%s\nbefore:\n%s", after, before)
		}
		if told := strings.Join(notes, "\n"); strings.Count(told, "user=other") != count {
			t.Errorf("the entries are not told: %s", told)
		}
	}
}

// A domain that was added since stays, and the SRS domain goes: no table answers for it any more.
func TestUndoTakesTheSRSDomainOutOfAListThatWasChangedSince(t *testing.T) {
	for was, lists := range map[string][2]string{
		"": {"$virtual_alias_maps, new.example.org, srs.example.org", "$virtual_alias_maps, new.example.org"},
		"virtual_alias_domains = a.example.org\n": {"new.example.org srs.example.org, a.example.org",
			"new.example.org, a.example.org"},
		"virtual_alias_domains = b.example.org\n": {"b.example.org, new.example.org",
			"b.example.org, new.example.org"},
	} {
		h := newHost(t, was, "")
		h.apply(all)
		if set := h.open().Get("virtual_alias_domains"); !strings.Contains(set, "srs.example.org") {
			t.Fatalf("setup wrote %s", set)
		}
		h.run([]Step{{Action: h.open().SetCommand(
			postconf.Parameter{Name: "virtual_alias_domains", Value: lists[0]})}})
		notes := h.undo()
		if got := h.open().Get("virtual_alias_domains"); got != lists[1] {
			t.Errorf("%s after %s is %s; notes %q", lists[0], was, got, notes)
		}
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

// What has to be set so that another filter passes the client on is named with its service, as a command that
// can be run; and when all of them have run, nothing is in the way any more.
func TestAFilterThatHidesTheClientIsToldWithCommands(t *testing.T) {
	t.Parallel()
	const amavis = "smtp-amavis unix - - n - 2 smtp\n127.0.0.1:10025 inet n - n - - smtpd\n" +
		"  -o content_filter=\n127.0.0.1:10027 inet n - n - - smtpd\n  -o content_filter=\n" +
		"587 inet n - n - - smtpd\n  -o content_filter=\n"
	for _, row := range []struct {
		why, main, master string
		want              []string
	}{
		{"neither side", "content_filter = smtp-amavis:[127.0.0.1]:10024\n", amavis,
			[]string{"smtp-amavis/unix/smtp_send_xforward_command=yes",
				"127.0.0.1:10025/inet/smtpd_authorized_xforward_hosts=127.0.0.0/8",
				"127.0.0.1:10027/inet/smtpd_authorized_xforward_hosts=127.0.0.0/8"}},
		{"the listener only", "content_filter = smtp-amavis:[192.0.2.7]:10024\n" +
			"smtp_send_xforward_command = yes\n", amavis,
			[]string{"127.0.0.1:10025/inet/smtpd_authorized_xforward_hosts=192.0.2.7",
				"127.0.0.1:10027/inet/smtpd_authorized_xforward_hosts=192.0.2.7"}},
		{"by LMTP", "content_filter = lmtp-amavis:unix:/run/amavis.sock\n" +
			"smtpd_authorized_xforward_hosts = 127.0.0.0/8\n", "lmtp-amavis unix - - n - 2 lmtp\n",
			[]string{"lmtp-amavis/unix/lmtp_send_xforward_command=yes"}},
		{"before the queue", "smtpd_proxy_filter = 127.0.0.1:10024\n",
			"127.0.0.1:10025 inet n - n - - smtpd\n  -o content_filter=\n  -o smtpd_proxy_filter=\n",
			[]string{"127.0.0.1:10025/inet/smtpd_authorized_xforward_hosts=127.0.0.0/8"}},
		{"it tells", "content_filter = smtp-amavis:[127.0.0.1]:10024\nsmtp_send_xforward_command = yes\n" +
			"smtpd_authorized_xforward_hosts = 127.0.0.0/8\n", amavis, nil},
	} {
		h := newHost(t, row.main, row.master)
		h.wanted.Mode = Transport
		_, err := h.plan()
		said := fmt.Sprint(err)
		if (err == nil) != (row.want == nil) || strings.Count(said, "postconf ") != len(row.want) {
			t.Errorf("%s: %v", row.why, err)
		}
		c := h.open()
		for _, want := range row.want {
			at := strings.LastIndexByte(want[:strings.IndexByte(want, '=')], '/')
			id, option := want[:at], want[at+1:]
			name, value, _ := strings.Cut(option, "=")
			command := c.SetOptionCommand(id, name, value)
			if !strings.Contains(said, command.String()) {
				t.Errorf("%s: %s is not in %s", row.why, command, said)
			}
			h.run([]Step{{Action: command}})
		}
		if _, err := h.plan(); err != nil {
			t.Errorf("%s: after the commands: %v", row.why, err)
		}
	}
	h := newHost(t, "content_filter = spamassassin\n", "spamassassin unix - n n - - pipe user=nobody "+
		"argv=/usr/bin/spamc\n")
	h.wanted.Mode = Transport
	if _, err := h.plan(); err == nil || strings.Contains(err.Error(), "postconf") ||
		!strings.Contains(err.Error(), "as a milter") {
		t.Errorf("a pipe: %v", err)
	}
}

// Of several instances, each has a configuration of its own; undo tells of the one that this Postfix has
// used.
func TestUndoKnowsTheConfigurationOfItsPostfix(t *testing.T) {
	t.Parallel()
	h := newHost(t, "", "")
	file := filepath.Join(t.TempDir(), "out.toml")
	if err := os.WriteFile(file, []byte("hostname = \"mx.example.org\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.wanted.ConfigFile = file
	plan, err := h.plan()
	if err != nil {
		t.Fatal(err)
	}
	c := h.open()
	step, err := (*State)(nil).with(plan).save(c)
	if err != nil {
		t.Fatal(err)
	}
	h.run([]Step{step})
	undoing, err := OpenUndo(c.Dir, filepath.Join(t.TempDir(), "other.toml"), "nobody")
	if err != nil || !strings.Contains(strings.Join(undoing.Kept, "\n"), file) {
		t.Errorf("%v, %+v", err, undoing)
	}
}
