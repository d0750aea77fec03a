package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postmend/postfix/check"
	"postmend/tests/mta"
	"postmend/tests/peer"
)

// ofMachine runs check for a machine whose own Postfix is this host's.
func (h *checkedHost) ofMachine(args ...string) *exec.Cmd {
	cmd := exec.Command(h.program, append([]string{"check", "--no-dns", "-c", h.config}, args...)...)
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+h.dir)
	return cmd
}

// One in a folder that only the caller names may be for trials.
func TestAPostfixOfTheMachineThatDoesNotRunIsAnError(t *testing.T) {
	t.Parallel()
	isDown := func(f check.Finding) bool { return f.Name == "postfix-down" }
	h := setUp(t)
	found := h.parsed(h.ofMachine("--json"))
	at := slices.IndexFunc(found, isDown)
	if at < 0 || found[at].Severity != check.Error || found[at].Mend != "postfix start" &&
		found[at].Mend != "systemctl start postfix" {
		t.Errorf("%+v", found)
	}
	if at != len(found)-1 {
		t.Errorf("Postfix is started before the rest is mended: %+v", found[at:])
	}
	if found := h.findings("--no-dns"); found[slices.IndexFunc(found, isDown)].Severity != check.Note {
		t.Errorf("of a folder that was named: %+v", found)
	}
	if found := h.parsed(prepared(t).ofMachine("--json")); slices.ContainsFunc(found, isDown) {
		t.Errorf("before Postfix knows postmend: %+v", found)
	}
}

func TestCheckPrintsTheHeadingOfAnAreaOnce(t *testing.T) {
	t.Parallel()
	h := setUp(t)
	h.shell(`pc -e 'header_checks=regexp:{ {/^X-/ IGNORE} }'`) // which is judged after the filter service
	out, _ := h.ofMachine().Output()
	heading := regexp.MustCompile(`(?m)^[A-Za-z][A-Za-z ]*$`)
	headings := heading.FindAllString(string(out), -1)
	if !slices.Contains(headings, "Postfix") || !slices.Contains(headings, "listener") {
		t.Fatalf("%s", out)
	}
	slices.Sort(headings)
	if once := slices.Compact(slices.Clone(headings)); len(once) != len(headings) {
		t.Errorf("%q", headings)
	}
}

func TestTheNextStepIsNotReadyWhileThereAreWarnings(t *testing.T) {
	t.Parallel()
	h := prepared(t)
	h.publish()
	h.zone = strings.Replace(h.zone, "_dmarc.example.org TXT v=DMARC1; p=quarantine\n", "", 1)
	h.publish()
	if next := nextStep(t, h.findings()); strings.Contains(next.What, "ready") ||
		!strings.Contains(next.What, "warnings above") {
		t.Errorf("%+v", next)
	}
}

// No receiver can look up a key below .test.
func TestADomainThatCanHaveNoKeyIsNamed(t *testing.T) {
	t.Parallel()
	h := setUp(t)
	h.shell(`pc -e 'mydestination=example.org, localhost, lab.test'
		c 's/^local_domains.*/local_domains = ["example.org", "lab.test"]/'`)
	named := func(f check.Finding) bool {
		return f.Name == "dkim-domains" && f.Severity == check.Note && strings.Contains(f.What, "lab.test")
	}
	if found := h.findings("--no-dns"); !slices.ContainsFunc(found, named) {
		t.Errorf("%+v", found)
	}
	if out := h.run(h.program, "setup", "--no-dns", "--postfix-dir", h.dir, "--root-dir", h.dir, "--user",
		"postmend-test"); !strings.Contains(out, "no DKIM key is made for lab.test: ") {
		t.Errorf("setup:\n%s", out)
	}
}

// A downloaded program may have its version in its name, and a link to it is not what Postfix is told.
func TestAProgramIsKnownByItsNameAlsoWithAVersionBehindIt(t *testing.T) {
	t.Parallel()
	built := checkedProgram(t)
	versioned := filepath.Join(mta.Folder(t), "postmend-1.0-linux")
	h := newCheckedHost(t, versioned)
	h.run("cp", built, versioned)
	h.setUpBySetup()
	if wrong := h.check("--no-dns"); wrong != nil {
		t.Errorf("%+v", wrong)
	}
	again := []string{"setup", "--apply", "--no-dns", "--postfix-dir", h.dir, "--root-dir", h.dir, "--user",
		peer.Account}
	if out := h.run(versioned, again...); !strings.Contains(out, "Nothing to do") {
		t.Errorf("setup for the second time:\n%s", out)
	}

	other := filepath.Join(filepath.Dir(versioned), "mender")
	h.run("cp", built, other)
	out, err := exec.Command(other, again...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "call it postmend") {
		t.Errorf("under another name: %v\n%s", err, out)
	}
}
