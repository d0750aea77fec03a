package tests

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postmend/postfix/check"
	"postmend/tests/peer"
)

func TestCheckIsSilentOnARightHost(t *testing.T) {
	t.Parallel()
	program := checkedProgram(t)
	for name, setUp := range map[string]func(*checkedHost){
		"by hand":                 func(h *checkedHost) { h.setUpByHand(newKey(t)) },
		"setup":                   func(h *checkedHost) { h.setUpBySetup() },
		"setup in transport mode": func(h *checkedHost) { h.setUpBySetup("--mode", "transport") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newCheckedHost(t, program)
			setUp(h)
			h.publish()
			for _, args := range [][]string{nil, {"--no-dns"}} {
				if wrong := h.check(args...); wrong != nil {
					t.Errorf("%q: %+v", args, wrong)
				}
			}
		})
	}
}

// In transport mode, mail that the listener does not pass on by a content_filter of its own comes back to the
// filter.
func TestCheckNamesALoopInTransportMode(t *testing.T) {
	h := newCheckedHost(t, checkedProgram(t))
	h.setUpBySetup("--mode", "transport")
	h.shell(`pc -P "$(pc -M | sed -n 's/^\(127[^ ]*\) *inet.*reinject.*/\1/p')/inet/content_filter="`)
	wrong := h.check("--no-dns")
	if len(wrong) != 1 || wrong[0].Name != "listener-filter" ||
		!strings.Contains(wrong[0].What, "default_transport") {
		t.Fatalf("%+v", wrong)
	}
	h.mend(wrong[0])
	if wrong := h.check("--no-dns"); wrong != nil {
		t.Errorf("after what check said: %+v", wrong)
	}
}

// postconf replaces the command of a service as a whole, so that commands for one fault each would bring the
// others back.
func TestOneCommandMendsAllThatIsWrongWithTheFilterService(t *testing.T) {
	t.Parallel()
	h := newCheckedHost(t, checkedProgram(t))
	h.setUpByHand(newKey(t))
	h.shell(
		`m 's/flags=q/flags=DRu/; s/null_sender=//; s/--size=\${size}//; s/-- \${recipient}/${recipient}/'
m '/-o { pipe_delivery/d; /flags=/s/user=postmend-test/user=root/'
m 's/pipe$/pipe -o soft_bounce=no/'`)
	wrong := h.check("--no-dns")
	names := map[string]bool{}
	for _, f := range wrong {
		names[f.Name] = true
	}
	if len(names) != 6 {
		t.Errorf("%+v", wrong)
	}
	h.mend(wrong[0])
	if wrong := h.check("--no-dns"); wrong != nil {
		t.Errorf("after what check said: %+v", wrong)
	}
	if options := h.run("postconf", "-c", h.dir, "-P", "postmend/unix"); !strings.Contains(options,
		"soft_bounce = no") {
		t.Errorf("an option of the operator's is gone: %s", options)
	}
}

// The key comes first, then its record, and the configuration names it last: what it names signs at once.
func TestCheckLeadsToAKeyForANewDomain(t *testing.T) {
	t.Parallel()
	h := newCheckedHost(t, checkedProgram(t))
	h.setUpByHand(newKey(t))
	h.publish()
	h.shell(
		`pc -e 'mydestination=example.org, localhost, sub.example.org, example.net'
		c 's/^local_domains.*/local_domains = ["example.org", ".example.org", "example.net"]/'`)
	notes := func() []check.Finding {
		var found []check.Finding
		for _, f := range h.findings() {
			if f.Name == "dkim-domains" {
				found = append(found, f)
			}
		}
		return found
	}
	step := notes()
	if len(step) != 1 || !strings.Contains(step[0].What, "example.net") ||
		!strings.Contains(step[0].Mend, "genkey") || step[0].Publish != "" {
		t.Fatalf("without a key: %+v", step)
	}
	h.mend(step[0])
	if step = notes(); len(step) != 1 || step[0].Mend != "" ||
		!strings.HasPrefix(step[0].Publish, "2026a._domainkey.example.net. ") {
		t.Fatalf("with a key: %+v", step)
	}
	h.mend(step[0])
	if step = notes(); len(step) != 1 || !strings.Contains(step[0].Mend, "[[dkim.keys]]") ||
		step[0].Publish != "" {
		t.Fatalf("with a record: %+v", step)
	}
	h.mend(step[0])
	if step = notes(); step != nil {
		t.Errorf("in the end: %+v", step)
	}
	for _, f := range h.check() {
		if f.Name != "dns-dmarc" {
			t.Errorf("%+v", f)
		}
	}
}

// postmend puts postmaster@ the default domain into From: if no alias can stand there.
func TestCheckNotesAnAuthorThatDoesNotExist(t *testing.T) {
	t.Parallel()
	h := newCheckedHost(t, checkedProgram(t))
	h.setUpByHand(newKey(t))
	note := func() string {
		for _, f := range h.findings("--no-dns") {
			if f.Name == "from-address" && f.Severity == check.Note {
				return f.What
			}
		}
		return ""
	}
	if said := note(); said != "" {
		t.Errorf("in mydestination: %s", said)
	}
	h.shell("pc -e mydestination=localhost 'virtual_alias_domains=example.org, srs.example.org'")
	if said := note(); !strings.Contains(said, "postmaster@example.org does not exist") {
		t.Errorf("without an alias: %q", said)
	}
	h.shell("pc -e 'virtual_alias_maps=inline:{{postmaster@srs.example.org=postmaster}, " +
		"{postmaster@example.org=bob@example.com}}'")
	if said := note(); said != "" {
		t.Errorf("with an alias: %s", said)
	}
}

// As an account that may read nothing of it, check condemns nothing.
func TestCheckWithoutRootSaysSoAndReplacesNothing(t *testing.T) {
	t.Parallel()
	h := newCheckedHost(t, checkedProgram(t))
	h.setUpByHand(newKey(t))
	h.shell(`chown daemon "$HOME_DIR/srs.secrets" "$HOME_DIR"/dkim/*.pem`)
	peer.Age(t, h.dir)
	out, err := exec.Command("runuser", "-u", "nobody", "--", h.program, "check", "--no-dns", "--postfix-dir",
		h.dir, "-c", h.config).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v", err)
	}
	if !strings.Contains(string(out), "does not run as root") ||
		strings.Count(string(out), "you may not read it") != 2 ||
		strings.Contains(string(out), "openssl") || strings.Contains(string(out), "genkey") {
		t.Errorf("%s", out)
	}
}

// What docs/postfix.md shows for a new domain and for a new key.
func TestTheDocumentedWayToANewKeyIsRight(t *testing.T) {
	t.Parallel()
	h := newCheckedHost(t, checkedProgram(t))
	h.setUpByHand(newKey(t))
	home := filepath.Dir(h.config)
	own := strings.NewReplacer("/etc/postmend", home, "chown postmend", "chown "+peer.Account,
		"postmend dkim genkey --domain example.net --selector 2026a", h.program+" dkim genkey --domain "+
			"example.net --selector 2026a --file "+home+"/dkim/example.net.2026a.pem",
		"postmend dkim genkey --domain example.org --selector 2026b", h.program+" dkim genkey --domain "+
			"example.org --selector 2026b --file "+home+"/dkim/example.org.2026b.pem",
		"postmend check", "")
	for _, kind := range []string{"sh adding", "sh added", "sh changing", "sh changed"} {
		script := own.Replace(documented(t, kind))
		if strings.Contains(kind, "adding") {
			script += "pc -e 'mydestination=example.org, localhost, example.net'\n"
		}
		h.shell(script)
		for _, f := range h.findings("--no-dns") {
			if f.Severity != check.OK && (f.Severity != check.Note || f.Name == "dkim-domains" &&
				kind != "sh adding") && f.Name != "log" {
				t.Errorf("after %q: %+v", kind, f)
			}
		}
	}
	if records := h.run(h.program, "dkim", "record", "-c", h.config); strings.Count(records, "\n") != 3 {
		t.Errorf("%s", records)
	}
}
