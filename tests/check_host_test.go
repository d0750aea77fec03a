package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"postmend/filter/authn/dnsserver"
	"postmend/postfix/check"
	"postmend/tests/mta"
	"postmend/tests/peer"
)

// checkedHost is a configuration of Postfix and postmend, and the DNS around it. Nothing of it runs.
type checkedHost struct {
	t            *testing.T
	dir, program string
	config       string
	listener     string // the address in place of the documented one, which the machine may use
	etc          string // a copy of /etc that takes its place for check and for what it says; "" for none
	zone         string
	dns          *dnsserver.Server
}

// rightZone is what a right host has in DNS, but for its key.
const rightZone = `
mx.example.org A 192.0.2.10
mx.example.org AAAA 2001:db8::10
10.2.0.192.in-addr.arpa PTR mx.example.org
0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR mx.example.org
srs.example.org TXT v=spf1 mx -all
mx.example.org TXT v=spf1 a -all
srs.example.org MX 10 mx.example.org
_dmarc.example.org TXT v=DMARC1; p=quarantine
`

// What docs/postfix.md takes for given.
const (
	plainMain = `
mydestination = example.org, localhost
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
`
	plainMaster = `
smtp inet n - n - - smtpd
`
)

func newCheckedHost(t *testing.T, program string) *checkedHost {
	t.Helper()
	peer.NeedRoot(t)
	peer.Need(t, "postconf")
	peer.NeedAccount(t)
	h := &checkedHost{t: t, dir: mta.Folder(t), program: program, zone: rightZone,
		listener: fmt.Sprintf("127.%d.%d.1:%s", 1+rand.IntN(250), rand.IntN(250), peer.FreePort(t))}
	t.Cleanup(func() {
		if h.dns != nil {
			h.dns.Close()
		}
	})
	return h
}

// setUpByHand writes what docs/postfix.md shows.
func (h *checkedHost) setUpByHand(keyPEM []byte) {
	h.t.Helper()
	home := filepath.Join(h.dir, "etc")
	h.config = filepath.Join(home, "postmend.toml")
	h.must(os.MkdirAll(filepath.Join(home, "dkim"), 0o755))
	for name, content := range map[string][]byte{"srs.secrets": []byte("not a secret, but as long as one\n"),
		"dkim/example.org.2026a.pem": keyPEM} {
		path := filepath.Join(home, name)
		h.must(os.WriteFile(path, content, 0o600))
		chownTest(h.t, path)
	}
	store := filepath.Join(home, "srs") // what becomes of the machine's is not for a test to decide
	h.must(os.Mkdir(store, 0o700))
	chownTest(h.t, store)
	text := strings.NewReplacer("/etc/postmend", home, "/var/lib/postmend/srs",
		store).Replace(documented(h.t, "toml"))
	text += fmt.Sprintf("\n[reinject]\ntarget = %q\n", "smtp://"+h.listener)
	h.must(os.WriteFile(h.config, []byte(text), 0o644))
	own := strings.NewReplacer(
		documentedListener, h.listener,
		"/usr/local/bin/postmend filter", h.program+" filter -c "+h.config,
		"/usr/local/bin/postmend lookup reverse", h.program+" lookup reverse -c "+h.config,
		"user=postmend", "user=postmend-test")
	mta.Configure(h.t, h.dir, plainMain+documented(h.t, "main.cf"),
		plainMaster+own.Replace(documented(h.t, "master.cf")))
	h.ownSpool()
}

// ownSpool gives the host a spool folder of its own: what becomes of the machine's is not for a test to
// decide.
func (h *checkedHost) ownSpool() {
	h.t.Helper()
	folder := filepath.Join(filepath.Dir(h.config), "spool")
	h.must(os.Mkdir(folder, 0o700))
	chownTest(h.t, folder)
	text, err := os.ReadFile(h.config)
	h.must(err)
	h.must(os.WriteFile(h.config, fmt.Appendf(text, "\n[limits]\nspool_dir = %q\n", folder), 0o644))
}

// setUpBySetup has setup do it.
func (h *checkedHost) setUpBySetup(flags ...string) {
	h.t.Helper()
	mta.Configure(h.t, h.dir, plainMain, plainMaster)
	h.run(h.program, append([]string{"setup", "--apply", "--postfix-dir", h.dir, "--root-dir", h.dir,
		"--user", peer.Account, "--no-dns"}, flags...)...)
	h.config = filepath.Join(h.dir, "etc/postmend/postmend.toml")
	h.ownSpool()
}

// publish starts the DNS server, with the key's record as postmend prints it, and has the configuration name
// it.
func (h *checkedHost) publish() {
	h.t.Helper()
	if h.dns == nil {
		for line := range strings.Lines(h.run(h.program, "dkim", "record", "-c", h.config)) {
			h.zone += h.zoneLine(line)
		}
	} else {
		h.dns.Close()
	}
	var err error
	h.dns, err = dnsserver.Start(h.zone)
	h.must(err)
	text, err := os.ReadFile(h.config)
	h.must(err)
	if line, rest, _ := strings.Cut(string(text), "\n"); strings.HasPrefix(line, "resolver") {
		text = []byte(rest)
	}
	h.must(os.WriteFile(h.config, []byte(fmt.Sprintf("resolver = %q\n%s", h.dns.Addr(), text)), 0o644))
}

// zoneLine takes a line of a zone file to our server's notation.
func (h *checkedHost) zoneLine(line string) string {
	name, rest, _ := strings.Cut(strings.TrimSpace(line), " IN ")
	kind, value, found := strings.Cut(rest, " ")
	if !found {
		h.t.Errorf("%q is no line of a zone file", line)
	}
	if kind == "TXT" {
		value = strings.Trim(strings.ReplaceAll(value, `" "`, ""), `"`)
	}
	return strings.TrimSuffix(name, ".") + " " + kind + " " + value + "\n"
}

// follow publishes records in the place of those of the same name and type.
func (h *checkedHost) follow(records string) {
	for record := range strings.SplitSeq(records, "\n") {
		line := h.zoneLine(record)
		words := strings.SplitN(line, " ", 3)
		zone := ""
		for old := range strings.Lines(h.zone) {
			if !strings.HasPrefix(old, words[0]+" "+words[1]+" ") {
				zone += old
			}
		}
		h.zone = zone + line
	}
	h.publish()
}

func (h *checkedHost) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *checkedHost) run(name string, args ...string) string {
	h.t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		var exit *exec.ExitError
		errors.As(err, &exit)
		h.t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, exit.Stderr)
	}
	return string(out)
}

// copyEtc has what command gives run in a mount namespace with a copy of /etc.
func (h *checkedHost) copyEtc() {
	h.t.Helper()
	h.etc = mta.Folder(h.t)
	h.run("cp", "-a", "/etc/.", h.etc)
}

// command is exec.Command's, beside the copy of /etc if there is one.
func (h *checkedHost) command(name string, args ...string) *exec.Cmd {
	if h.etc == "" {
		return exec.Command(name, args...)
	}
	const script = `mount --bind "$0" /etc && exec "$@"`
	return exec.Command("unshare", append([]string{"--mount", "sh", "-c", script, h.etc, name}, args...)...)
}

// documentedListener is where docs/postfix.md puts the listener. In scripts and expectations it stands for
// the host's own.
const documentedListener = "127.0.0.1:10026"

// here puts the host's own listener, or its port alone, in the place of the documented one.
func (h *checkedHost) here(text string) string {
	_, port, _ := net.SplitHostPort(h.listener)
	return strings.NewReplacer(documentedListener, h.listener, "10026", port).Replace(text)
}

// shell runs a script, in which DIR, HOME_DIR, CONF and PROGRAM say where things are, m and c change
// master.cf and postmend.toml by sed, and target sets [reinject] target.
func (h *checkedHost) shell(script string) {
	h.t.Helper()
	const functions = `set -e
m() { sed -i "$@" "$DIR/master.cf"; }
c() { sed -i "$@" "$CONF"; }
pc() { postconf -c "$DIR" "$@"; }
target() { c "s|^target = .*|target = \"$1\"|"; }
own() { cp "$PROGRAM" "$DIR/postmend"; chmod 755 "$DIR/postmend"; m "s|$PROGRAM|$DIR/postmend|"; }
`
	cmd := exec.Command("sh", "-c", functions+h.here(script))
	cmd.Env = append(os.Environ(), "DIR="+h.dir, "HOME_DIR="+filepath.Dir(h.config), "CONF="+h.config,
		"PROGRAM="+h.program, "ETC="+h.etc)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// check runs postmend check, and gives what is not right.
func (h *checkedHost) check(args ...string) []check.Finding {
	h.t.Helper()
	var wrong []check.Finding
	for _, f := range h.findings(args...) {
		if f.Severity == check.Warning || f.Severity == check.Error {
			wrong = append(wrong, f)
		}
	}
	return wrong
}

// findings runs postmend check, and gives all that it says.
func (h *checkedHost) findings(args ...string) []check.Finding {
	h.t.Helper()
	peer.Age(h.t, h.dir)
	args = append([]string{"check", "--json", "--postfix-dir", h.dir, "-c", h.config}, args...)
	return h.parsed(h.command(h.program, args...))
}

// parsed gives what a run of check with --json says.
func (h *checkedHost) parsed(cmd *exec.Cmd) []check.Finding {
	h.t.Helper()
	out, err := cmd.Output()
	var report struct {
		OK       bool
		Findings []check.Finding
	}
	if jsonErr := json.Unmarshal(out, &report); jsonErr != nil {
		h.t.Fatalf("%v, %v: %s", err, jsonErr, out)
	}
	wrong := slices.ContainsFunc(report.Findings,
		func(f check.Finding) bool { return f.Severity == check.Warning || f.Severity == check.Error })
	var exit *exec.ExitError
	status := 0
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	}
	if report.OK == wrong || report.OK != (status == 0) || len(report.Findings) < 2 {
		h.t.Errorf("ok: %t, exit status %d, %d findings, of which some are wrong: %t", report.OK, status,
			len(report.Findings), wrong)
	}
	return report.Findings
}

func checkedProgram(t *testing.T) string {
	t.Helper()
	peer.NeedRoot(t)
	program := filepath.Join(mta.Folder(t), "postmend")
	build(t, program)
	return program
}

func chownTest(t testing.TB, path string) {
	t.Helper()
	account, err := user.Lookup(peer.Account)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(account.Uid)
	if err := os.Chown(path, uid, -1); err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) []byte {
	t.Helper()
	pem, err := rsaKeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	return pem
}

// setUp is a host as docs/postfix.md shows it.
func setUp(t *testing.T) *checkedHost {
	t.Helper()
	h := newCheckedHost(t, checkedProgram(t))
	h.setUpByHand(newKey(t))
	return h
}
