package tests

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postmend/postfix/check"
)

// misconfiguration is a change that makes a right host wrong, and how check has to name it.
type misconfiguration struct {
	name string
	// script makes it: see checkedHost.shell. zone makes it in DNS: what stands there, and what takes its
	// place.
	script string
	zone   [2]string
	// finding is the name that it goes by in check's output, says a part of the text.
	finding, says string
	// also are findings that follow from it.
	also []string
	// ownEtc has check and what it says run beside a copy of /etc, where accounts can be made.
	ownEtc bool
	// byHand is a fault for which check is to print no command.
	byHand bool
}

const (
	filterID   = "postmend/unix"
	listenerID = documentedListener + "/inet"
)

func TestCheckNamesEachFaultAndPrintsWhatMendsIt(t *testing.T) {
	t.Parallel()
	program, key := checkedProgram(t), newKey(t)
	for _, f := range slices.Concat(filesFaults, routeFaults, serviceFaults, listenerFaults, bounceFaults,
		dnsFaults) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			h := newCheckedHost(t, program)
			h.setUpByHand(key)
			flags := []string{"--no-dns"}
			if f.zone[0] != "" {
				flags = nil
				h.publish()
				if !strings.Contains(h.zone, f.zone[0]) {
					t.Fatalf("the zone has no %q:\n%s", f.zone[0], h.zone)
				}
				h.zone = strings.Replace(h.zone, f.zone[0], f.zone[1], 1)
				h.publish()
			}
			if f.ownEtc {
				h.copyEtc()
			}
			h.shell(f.script)
			wrong := h.check(flags...)
			f.isNamedBy(t, h, wrong)
			if f.byHand {
				return
			}
			before := h.standing()
			h.mendAll(wrong)
			h.isUnharmed(before, flags == nil)
			if wrong := h.check(flags...); wrong != nil {
				t.Errorf("after what check said: %+v", wrong)
			}
		})
	}
}

// isNamedBy tells whether the findings are of the fault, and of nothing else.
func (f *misconfiguration) isNamedBy(t *testing.T, h *checkedHost, findings []check.Finding) {
	t.Helper()
	says := h.here(f.says)
	named := false
	for _, finding := range findings {
		named = named || finding.Name == f.finding && strings.Contains(finding.What, says)
		if finding.Name != f.finding && !slices.Contains(f.also, finding.Name) {
			t.Errorf("a right thing is found wrong: %+v", finding)
		}
		if hasRemedy := finding.Mend != "" || finding.Publish != "" ||
			finding.Edit != nil; finding.Why == "" || hasRemedy == f.byHand {
			t.Errorf("no reason, or a remedy: %t: %+v", hasRemedy, finding)
		}
	}
	if !named {
		t.Errorf("want %s, %q, got %+v", f.finding, says, findings)
	}
}

// mendAll does what findings say, edits from the last line to the first, so that the lines stay those that
// were named.
func (h *checkedHost) mendAll(findings []check.Finding) {
	h.t.Helper()
	var edits []check.Edit
	for _, f := range findings {
		h.mend(f)
		if f.Edit != nil {
			edits = append(edits, *f.Edit)
		}
	}
	slices.SortStableFunc(edits, func(a, b check.Edit) int { return b.Line - a.Line })
	for _, e := range edits {
		h.edit(e)
	}
}

// edit does what a person would do with an editor.
func (h *checkedHost) edit(e check.Edit) {
	h.t.Helper()
	text, err := os.ReadFile(e.File)
	h.must(err)
	lines := strings.SplitAfter(string(text), "\n")
	section, key := "", e.Key
	if at := strings.LastIndexByte(e.Key, '.'); at >= 0 {
		section, key = e.Key[:at], e.Key[at+1:]
	}
	line := key + " = " + e.Value + "\n"
	switch {
	case e.Line > 0 && e.Add:
		lines[e.Line-1] = strings.Replace(lines[e.Line-1], "[", "["+e.Value+", ", 1)
	case e.Line > 0:
		lines[e.Line-1] = line
	case section == "":
		lines = slices.Insert(lines, 0, line)
	default:
		at := slices.Index(lines, "["+section+"]\n")
		if at < 0 {
			lines = append(lines, "["+section+"]\n")
			at = len(lines) - 1
		}
		lines = slices.Insert(lines, at+1, line)
	}
	h.must(os.WriteFile(e.File, []byte(strings.Join(lines, "")), 0o644))
}

// mend runs and publishes what a finding says.
func (h *checkedHost) mend(finding check.Finding) {
	h.t.Helper()
	if finding.Mend != "" {
		if reason := reachesOut(h.withoutAccount(finding.Mend), h.dir, h.program); reason != "" {
			h.t.Fatalf("not run, because %s: %s", reason, finding.Mend)
		}
		if out, err := h.command("sh", "-c", finding.Mend).CombinedOutput(); err != nil {
			h.t.Errorf("%s: %v\n%s", finding.Mend, err, out)
		}
	}
	if finding.Publish != "" {
		h.follow(finding.Publish)
	}
}

var (
	absolutePath = regexp.MustCompile(`(?m)(?:^|[\s'"=:>|(])(/[\w.][^\s'";|)]*)`)
	ownPostfix   = regexp.MustCompile(`(?m)(?:^|&& |\()post(conf|super|fix) (-c \S+)?`)
)

var makesAccount = regexp.MustCompile(`\{ id \S+ >/dev/null 2>&1 \|\| useradd [^;]*; \} && `)

// withoutAccount is a command without the part that makes an account, where that is made in a copy of /etc.
func (h *checkedHost) withoutAccount(command string) string {
	if h.etc == "" {
		return command
	}
	return makesAccount.ReplaceAllString(command, "")
}

// reachesOut tells why commands would change more than a host in a folder, "" if they would not: tests run as
// root, on somebody's machine.
func reachesOut(command, dir, program string) string {
	for _, match := range absolutePath.FindAllStringSubmatch(command, -1) {
		path := filepath.Clean(match[1])
		if path != program && path != dir && !strings.HasPrefix(path, dir+"/") &&
			filepath.Dir(path) != "/dev" {
			return path + " is outside the test's folder"
		}
	}
	for _, match := range ownPostfix.FindAllStringSubmatch(command, -1) {
		if match[2] != "-c "+dir {
			return "it is about the machine's own Postfix"
		}
	}
	if strings.Contains(command, "useradd") {
		return "it makes an account"
	}
	return ""
}

func TestNoMendOfATestReachesTheMachine(t *testing.T) {
	for command, reaches := range map[string]bool{
		"chmod 1777 /tmp":                                                     true,
		"chown nobody /tmp && chmod u+rwx /tmp":                               true,
		"chmod o-w /tmp/pm1/../x":                                             true,
		"chmod o-w /tmp/pm11":                                                 true,
		"sed -i '1i x' /etc/postmend/postmend.toml":                           true,
		"(umask 077; openssl rand -base64 24 > /etc/x)":                       true,
		"postconf -e content_filter=postmend:dummy":                           true,
		"{ id postmend >/dev/null 2>&1 || useradd postmend; } && true":        true,
		"chmod o-w /tmp/pm1/etc":                                              false,
		"postconf -c /tmp/pm1 -e content_filter=postmend:dummy":               false,
		`sed -i 's|^local_domains[ \t]*=|&"x", |' /tmp/pm1/etc/postmend.toml`: false,
		`postconf -c /tmp/pm1 -F ` +
			`'x/command=pipe {x=regexp:{{/^5(.*)/ 4$$1}}} argv=/tmp/pm2/postmend filter'`: false,
	} {
		if reason := reachesOut(command, "/tmp/pm1", "/tmp/pm2/postmend"); (reason != "") != reaches {
			t.Errorf("%s: %q", command, reason)
		}
	}
}
