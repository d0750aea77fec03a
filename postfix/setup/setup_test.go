package setup

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
	"postmend/tests/peer"
)

const plainMain = `
myhostname = mx.example.org
mydestination = $myhostname, localhost
virtual_mailbox_domains = example.org
queue_directory = /
`

const plainMaster = `
smtp      inet  n - y - - smtpd
pickup    unix  n - y 60 1 pickup
smtp      unix  - - y - - smtp
`

// host is a configuration in a folder of its own.
type host struct {
	t      *testing.T
	dir    string
	wanted Wanted
	// version takes the place of the installed Postfix's.
	version *postconf.Version
}

func newHost(t *testing.T, main, master string) *host {
	t.Helper()
	peer.Need(t, "postconf")
	h := &host{t: t, dir: t.TempDir(),
		wanted: Wanted{Mode: ContentFilter, User: "postmend", Program: "/usr/local/bin/postmend",
			Listener: "127.0.0.1:10026", SRSDomain: "srs.example.org"}}
	for name, text := range map[string]string{"main.cf": plainMain + main,
		"master.cf": plainMaster + master} {
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *host) open() *postconf.Config {
	h.t.Helper()
	peer.Age(h.t, h.dir)
	c, err := postconf.Open(h.dir)
	if err != nil {
		h.t.Fatal(err)
	}
	if h.version != nil {
		c.Version = *h.version
	}
	return c
}

func (h *host) plan() (*Plan, error) {
	h.t.Helper()
	c := h.open()
	domains, err := ReadDomains(h.t.Context(), c)
	if err != nil {
		h.t.Fatal(err)
	}
	return NewPlan(c, domains, h.wanted)
}

// apply carries the plan out up to a number of steps.
func (h *host) apply(atMost int) {
	h.t.Helper()
	p, err := h.plan()
	if err != nil {
		h.t.Fatal(err)
	}
	state, err := loadState(h.open())
	if err != nil {
		h.t.Fatal(err)
	}
	steps, err := p.Steps(state)
	if err != nil {
		h.t.Fatal(err)
	}
	h.run(steps[:min(atMost, len(steps))])
}

func (h *host) run(steps []Step) {
	h.t.Helper()
	for _, step := range steps {
		peer.Age(h.t, h.dir)
		if err := step.Action.Run(); err != nil {
			h.t.Fatalf("%s: %v", step.Action, err)
		}
	}
}

// undo gives the notes.
func (h *host) undo() []string {
	h.t.Helper()
	c := h.open()
	state, err := loadState(c)
	if err != nil || state == nil {
		h.t.Fatalf("no state: %v", err)
	}
	steps, notes := state.undo(c)
	h.run(append(steps, forget(c, filepath.Join(h.dir, "postmend.toml"))))
	return notes
}

// read is what Postfix reads.
func (h *host) read() string {
	h.t.Helper()
	c := h.open()
	var all strings.Builder
	for _, name := range []string{"virtual_alias_maps", "virtual_alias_domains", "content_filter",
		"default_transport", "sender_canonical_maps", "recipient_canonical_maps", "postmend_time_limit"} {
		if c.IsSet(name) {
			all.WriteString(name + "=" + c.Get(name) + "\n")
		}
	}
	for _, s := range c.Services() {
		all.WriteString(strings.Join(strings.Fields(s.Line), " ") + "\n")
	}
	return all.String()
}

const all = 1000

func TestAnApplyThatWasInterruptedAnywhereCanBeUndoneOrFinished(t *testing.T) {
	peer.Long(t)
	t.Parallel()
	for _, atMost := range []int{3, 5, 7, 9} { // the first three are copies and the state
		h := newHost(t, "virtual_alias_maps = inline:{a@example.org=b@example.com}\n"+
			"sender_canonical_maps = tcp:localhost:10001\n", "")
		before := h.read()
		h.apply(atMost)
		h.undo()
		if after := h.read(); after != before {
			t.Errorf("undone after %d steps:\n%s\nbefore:\n%s", atMost, after, before)
		}
		h.apply(atMost)
		h.apply(all)
		if p, err := h.plan(); err != nil || len(p.Changes) != 0 {
			t.Errorf("finished after %d steps: %v %+v", atMost, err, p)
		}
		h.undo()
		if after := h.read(); after != before {
			t.Errorf("interrupted after %d steps, finished, undone:\n%s\nbefore:\n%s", atMost, after, before)
		}
	}
}

func TestWhatTheOperatorChangedSinceSurvivesUndo(t *testing.T) {
	t.Parallel()
	h := newHost(t, "virtual_alias_maps = inline:{a@example.org=b@example.com}\n", "")
	h.apply(all)
	c := h.open()
	mine := "inline:{c@example.org=d@example.com}"
	h.run([]Step{{Action: c.SetCommand(
		postconf.Parameter{Name: "virtual_alias_maps", Value: c.Get("virtual_alias_maps") + ", " + mine},
		postconf.Parameter{Name: "content_filter", Value: "other:dummy"})}})
	notes := h.undo()
	c = h.open()
	if got := c.Get("virtual_alias_maps"); got != "inline:{a@example.org=b@example.com}, "+mine {
		t.Errorf("virtual_alias_maps = %q", got)
	}
	if got := c.Get("content_filter"); got != "other:dummy" || len(notes) != 1 ||
		!strings.Contains(notes[0], "content_filter") {
		t.Errorf("content_filter = %q, notes %q", got, notes)
	}
}

func TestTheConfigurationFitsThePostfixThatReadsIt(t *testing.T) {
	peer.Long(t)
	t.Parallel()
	for version, want := range map[postconf.Version]struct{ inline, envid bool }{
		{Major: 3, Minor: 4}: {false, false},
		{Major: 3, Minor: 7}: {true, false},
		{Major: 3, Minor: 9}: {true, true},
	} {
		h := newHost(t, "", "")
		h.version = &version
		before := h.read()
		h.apply(all)
		text := h.read()
		if got := strings.Contains(text, "regexp:{{/^5"); got != want.inline {
			t.Errorf("%s: a table within a parameter: %t", version, got)
		}
		if got := strings.Contains(text, "${envid}"); got != want.envid {
			t.Errorf("%s: ${envid}: %t", version, got)
		}
		p, _ := h.plan()
		left := slices.ContainsFunc(p.Details, func(note string) bool {
			return strings.Contains(note, "${envid}")
		})
		if left == want.envid {
			t.Errorf("%s: what was left out is not told: %q", version, p.Notes)
		}
		// A forged address is asked for, anything else is not: the table that would be asked is not there.
		c := h.open()
		aliases, err := c.Expand("virtual_alias_maps")
		if err != nil {
			t.Fatal(err)
		}
		table := postconf.List(aliases)[0]
		if _, found, err := c.Lookup(t.Context(), table, "alice@example.org"); found || err != nil {
			t.Errorf("%s: %s asked for another address: %t, %v", version, table, found, err)
		}
		if _, _, err := c.Lookup(t.Context(), table,
			"SRS0=aBcD=AA=a.example=alice@srs.example.org"); err == nil {
			t.Errorf("%s: %s not asked for an SRS address", version, table)
		}
		if p.Changes != nil {
			t.Errorf("%s: a second run would change %+v", version, p.Changes)
		}
		h.undo()
		if after := h.read(); after != before {
			t.Errorf("%s: after undo:\n%s", version, after)
		}
		if left, _ := filepath.Glob(filepath.Join(h.dir, "postmend*")); left != nil {
			t.Errorf("%s: left behind: %q", version, left)
		}
	}
	h := newHost(t, "", "")
	h.version = &postconf.Version{Major: 2, Minor: 11}
	if _, err := h.plan(); err == nil {
		t.Error("Postfix 2.11, which would bounce mail for our faults, is accepted")
	}
}

// The status filter of a Postfix before 3.7 does in a file what it does within a parameter.
func TestFaultsAreDeferredByTheStatusFilterInAFile(t *testing.T) {
	t.Parallel()
	h := newHost(t, "", "")
	h.version = &postconf.Version{Major: 3, Minor: 4}
	h.apply(all)
	c := h.open()
	service, _ := c.Service(layout.FilterID)
	table := service.Options["pipe_delivery_status_filter"]
	for reply, want := range map[string]string{
		"5.3.0 Command time limit exceeded": "4.3.0 Command time limit exceeded",
		"5.1.1 SRS address was not made":    "",
	} {
		if got, _, err := c.Lookup(t.Context(), table, reply); got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", reply, got, err, want)
		}
	}
}

const amavis = `
smtp-amavis unix - - n - 2 smtp -o smtp_send_xforward_command=yes
127.0.0.1:10025 inet n - n - - smtpd -o content_filter= -o smtpd_authorized_xforward_hosts=127.0.0.0/8
`

func TestWhatTakesTheOperatorsDecisionIsRefused(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		main, master string
		mode         Mode
		refused      string
	}{
		"in main.cf": {"content_filter = smtp-amavis:[127.0.0.1]:10024\n", amavis,
			ContentFilter, "--mode transport"},
		"in main.cf, chained": {"content_filter = smtp-amavis:[127.0.0.1]:10024\n", amavis,
			Transport, ""},
		"of one service": {"",
			"587 inet n - n - - smtpd -o content_filter=spamassassin\n", ContentFilter, "587/inet"},
		"one that hides the client": {"content_filter = spamassassin\n",
			"spamassassin unix - n n - - pipe user=nobody argv=/bin/true\n", Transport, "as a milter"},
		"before the queue": {"smtpd_proxy_filter = 127.0.0.1:10024\n", "", ContentFilter,
			"smtpd_proxy_filter"},
		"another service on the port": {"", "127.0.0.1:10026 inet n - n - - smtpd\n",
			ContentFilter, "10026"},
		"another service on the port, any host": {"",
			"10026 inet n - n - - spawn user=nobody argv=/bin/true\n", ContentFilter, "10026"},
		"aliases expanded after it": {"receive_override_options = no_address_mappings\n", "",
			ContentFilter, "no_address_mappings"},
		"aliases expanded after it, one port": {"",
			"587 inet n - n - - smtpd -o receive_override_options=no_address_mappings\n",
			ContentFilter, "587/inet"},
		"postmend itself, in the other mode": {"content_filter = postmend:dummy\n", "",
			Transport, "--undo"},
		"postmend itself, in this mode": {"content_filter = postmend:dummy\n", "", ContentFilter, ""},
	} {
		h := newHost(t, row.main, row.master)
		h.wanted.Mode = row.mode
		_, err := h.plan()
		if row.refused == "" && err != nil || row.refused != "" &&
			(err == nil || !strings.Contains(err.Error(), row.refused)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTransportModeKeepsTheWayOut(t *testing.T) {
	t.Parallel()
	for main, want := range map[string]string{
		"default_transport = smtp-out\n":                     "smtp-out:$relayhost",
		"default_transport = smtp:[relay.example.net]:587\n": "smtp:[relay.example.net]:587",
	} {
		h := newHost(t, main, "")
		h.wanted.Mode = Transport
		for range 2 { // a second plan must not take postmend itself for the way out
			h.apply(all)
			c := h.open()
			listener, _ := c.Service("127.0.0.1:10026/inet")
			got := listener.Options["content_filter"]
			if got != want || c.Get("default_transport") != "postmend:" {
				t.Errorf("%q: the listener has content_filter=%s, want %s", main, got, want)
			}
			// The recipients of one domain share a run.
			if limit := c.Get("postmend_destination_recipient_limit"); limit != "50" {
				t.Errorf("%q: %s recipients in a run", main, limit)
			}
		}
	}
}

func TestNothingFromOutsideReachesMasterCf(t *testing.T) {
	t.Parallel()
	for _, change := range []func(w *Wanted){
		func(w *Wanted) { w.User = "nobody argv=/bin/sh" },
		func(w *Wanted) { w.Program = "/tmp/a b" },
		func(w *Wanted) { w.ConfigFile = "/etc/${x}" },
		func(w *Wanted) { w.SRSDomain = "a.example)$/ x" },
		func(w *Wanted) { w.Listener = "127.0.0.1:1\n2" },
	} {
		h := newHost(t, "", "")
		change(&h.wanted)
		if _, err := h.plan(); err == nil {
			t.Errorf("accepted: %+v", h.wanted)
		}
	}
}

// Postfix's pipe(8) and spawn(8) give their children one group.
func TestATrialHasNoMoreRightsThanPostfixGives(t *testing.T) {
	trial := asUser{User: "nobody", Group: "nogroup", Command: postconf.Command{"id", "-G"}}
	if got := trial.String(); got != "runuser -u nobody -g nogroup -- id -G" {
		t.Error(got)
	}
	peer.NeedRoot(t)
	// With the group of another account beside its own it would be in two.
	out, err := exec.Command("sh", "-c", strings.Replace(trial.String(), "nogroup", "daemon", 1)).Output()
	if err != nil || strings.Contains(strings.TrimSpace(string(out)), " ") {
		t.Errorf("%q, %v", out, err)
	}
}
