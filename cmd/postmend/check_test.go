package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postmend/dkim"
	"postmend/filter/authn"
	"postmend/filter/authn/dnstest"
	"postmend/postfix/check"
)

// terminal is a pseudo-terminal: what is written to the second file can be read from the first.
func terminal(t *testing.T) (*os.File, *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func TestColoursAreForTerminalsOnly(t *testing.T) {
	findings := []check.Finding{{Area: "area", Name: "name", Severity: check.Error, What: "what", Why: "why", Mend: "mend"}}
	var text bytes.Buffer
	if err := writeFindings(&text, findings); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), "\x1b") || !strings.Contains(text.String(), "mend") {
		t.Errorf("%q", text.String())
	}
	for _, noColor := range []string{"", "1"} {
		t.Setenv("NO_COLOR", noColor)
		master, slave := terminal(t)
		if err := writeFindings(slave, findings); err != nil {
			t.Fatal(err)
		}
		shown := make([]byte, text.Len())
		if _, err := io.ReadFull(master, shown); err != nil {
			t.Fatal(err)
		}
		if coloured := bytes.Contains(shown, []byte("\x1b[")); coloured != (noColor == "") {
			t.Errorf("NO_COLOR=%q: %q", noColor, shown)
		}
	}
}

// dnsFindings judges what a zone says of a host in example.org whose addresses are known from its name.
func dnsFindings(t *testing.T, zone, relayhost string) []check.Finding {
	t.Helper()
	server, err := dnstest.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	w := newWorld(t, `hostname = "mx.example.org"`, fmt.Sprintf("hostname = %q\nresolver = %q", "mx.example.org", server.Addr()))
	o := gatherOwn(w.config)
	if o.configErr != nil {
		t.Fatal(o.configErr)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := gatherDNS(ctx, o, nil)
	p.relayhost = relayhost
	return p.judge()
}

func severityOfFinding(findings []check.Finding, name string) check.Severity {
	for _, f := range findings {
		if f.Name == name {
			return f.Severity
		}
	}
	return ""
}

func TestDNSThatDoesNotAnswerIsNoVerdict(t *testing.T) {
	findings := dnsFindings(t, `
mx.example.org A 192.0.2.10
10.2.0.192.in-addr.arpa SERVFAIL
srs.example.org SERVFAIL
s._domainkey.example.org SERVFAIL
_dmarc.example.org SERVFAIL
`, "")
	for _, name := range []string{"dns-ptr", "dns-spf", "dns-mx", "dns-dkim", "dns-dmarc"} {
		if got := severityOfFinding(findings, name); got != check.Warning {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, f := range findings {
		if f.Publish != "" {
			t.Errorf("a record is to be published, and nobody knows whether it is there: %+v", f)
		}
	}
}

func TestWhatCannotBeKnownIsANote(t *testing.T) {
	const zone = "mx.example.org A %s\nsrs.example.org MX 10 mx.example.org\nsrs.example.org MX 20 backup.example.net\n"
	findings := dnsFindings(t, fmt.Sprintf(zone, "192.0.2.10"), "[relay.example.net]")
	for _, name := range []string{"dns-spf", "dns-mx"} {
		if got := severityOfFinding(findings, name); got != check.Note {
			t.Errorf("with a relayhost and a second MX: %s: %q", name, got)
		}
	}
	if got := severityOfFinding(dnsFindings(t, fmt.Sprintf(zone, "10.0.0.1"), ""), "dns-ptr"); got != check.Note {
		t.Errorf("a private address: %q", got)
	}
	findings = dnsFindings(t, "", "")
	for name, want := range map[string]check.Severity{"dns-hostname": check.Error, "dns-ptr": check.Note, "dns-spf": check.Note} {
		if got := severityOfFinding(findings, name); got != want {
			t.Errorf("without any address: %s: %q", name, got)
		}
	}
}

// A server commonly has its own name in its hosts file, on loopback; this name everybody has there.
func TestTheHostsFileDoesNotHideWhatDNSSays(t *testing.T) {
	server, err := dnstest.Start("localhost A 192.0.2.10\nlocalhost AAAA 2001:db8::10\n")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	view := outsideView{authn.New(server.Addr()), server.Addr()}
	found, err := view.LookupIPAddr(t.Context(), "localhost")
	if len(found) != 2 || found[0].String() != "192.0.2.10" || found[1].String() != "2001:db8::10" || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	none, err := dnstest.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	view = outsideView{authn.New(none.Addr()), none.Addr()}
	if found, err := view.LookupIPAddr(t.Context(), "localhost"); !isNotFound(err) {
		t.Errorf("%v, %v", found, err)
	}
}

func TestReverseNamesAreThoseOfTheStandards(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.10": "10.2.0.192.in-addr.arpa.", // RFC 1035 section 3.5
		// RFC 3596 section 2.5
		"4321:0:1:2:3:4:567:89ab": "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa.",
	} {
		if got := reverseName(net.ParseIP(ip)); got != want {
			t.Errorf("%s: %s", ip, got)
		}
	}
}

// What cannot be renamed is left to a person: a line that is taken out may be the head of a section or the middle of a list.
func TestOnlyAKeyThatWasMistypedIsRenamed(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"hostnmae = \"mx.example.org\"\n", "1s/hostnmae/hostname/"},
		{"[srss]\ndomain = \"srs.example.org\"\nsecrets_file = \"s\"\n", "1s/srss/srs/"},
		{"[dmarc]\nmunge_form = \"never\"\n", "2s/munge_form/munge_from/"},
		{"[[dkim.keys]]\nselektor = \"s\"\n", "2s/selektor/selector/"},
		{"nonsense = 1\n", "+1 "},
		{"nonsense = [\n  1,\n]\n", "+1 "},
		{"[limits]\nhostname = \"x\"\n", "+2 "},                                      // of another section
		{"hostname = \"x\"\nhostnam = \"y\"\n", "+2 "},                               // it would stand there twice
		{"local_domain = \"example.org\"\n", "+1 "},                                  // a list is wanted
		{"[dmarc]\non_dmarc_fial = \"reject\"\n", "2s/on_dmarc_fial/on_dmarc_fail/"}, // beside on_own_domain_forgery
	} {
		path := filepath.Join(t.TempDir(), "postmend.toml")
		if err := os.WriteFile(path, []byte(row.text), 0o644); err != nil {
			t.Fatal(err)
		}
		o := gatherOwn(path)
		mend := judgeConfig(o)[0].Mend
		if !strings.Contains(mend, row.want) || strings.HasPrefix(row.want, "+") != strings.HasPrefix(mend, "${EDITOR:-vi} ") {
			t.Errorf("%q: %s, want %s", row.text, mend, row.want)
		}
	}
}

// A new secret would make every SRS address invalid that was given out, and a new key is published nowhere.
func TestOnlyAnEmptySecretIsReplaced(t *testing.T) {
	dir := t.TempDir()
	encrypted := "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
	for name, row := range map[string]struct {
		text, mend string // a part of it; "" if there is to be none
	}{
		"empty":             {"", "NEW"},
		"blank":             {" \n\n", "NEW"},
		"damaged":           {"nonsense\n", ""},
		"with a passphrase": {encrypted, "openssl pkey -in"},
	} {
		path := filepath.Join(dir, "key.pem")
		if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, loadErr := dkim.LoadKey("example.org", "s", path)
		o := &own{isRoot: true, user: "nobody"}
		faults := o.judgePrivate(check.Stat(path), loadErr, "make NEW")
		if len(faults) != 1 || faults[0].What == "" || (row.mend == "") != (faults[0].Mend == "") || !strings.Contains(faults[0].Mend, row.mend) {
			t.Errorf("%s: %+v", name, faults)
		}
	}
}

func TestWhatOnlyRootMayReadIsNotJudgedForOthers(t *testing.T) {
	o := &own{user: "nobody"}
	denied := &fs.PathError{Op: "open", Path: "/etc/postmend/srs.secrets", Err: syscall.EACCES}
	for _, file := range []check.File{{Path: denied.Path, Mode: 0o600}, {Path: denied.Path, Err: denied}} {
		faults := o.judgePrivate(file, fmt.Errorf("srs: %w", denied), "make NEW")
		if len(faults) != 1 || faults[0].Severity != check.Note || faults[0].Mend != "" {
			t.Errorf("%+v", faults)
		}
	}
	if faults := judgeRoot(o); len(faults) != 1 || !strings.Contains(faults[0].What, "not run as root") {
		t.Errorf("%+v", faults)
	}
	if faults := judgeRoot(&own{isRoot: true}); faults != nil {
		t.Errorf("%+v", faults)
	}
}

func TestWhoDidNotAnswerIsTold(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := silent.LocalAddr().String()
	silent.Close()
	failing, err := dnstest.Start("mx.example.org SERVFAIL\n")
	if err != nil {
		t.Fatal(err)
	}
	defer failing.Close()
	for server, row := range map[string]struct{ says, mend string }{
		address:        {"or name another", "${EDITOR:-vi} "},
		failing.Addr(): {"dig +trace mx.example.org", ""},
	} {
		w := newWorld(t, `hostname = "mx.example.org"`, fmt.Sprintf("hostname = %q\nresolver = %q", "mx.example.org", server))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		p := gatherDNS(ctx, gatherOwn(w.config), nil)
		cancel()
		faults := judgeHostAddress(p)
		if len(faults) != 1 || !strings.Contains(faults[0].What, row.says) || row.mend != "" && faults[0].Mend != row.mend+w.config || row.mend == "" && faults[0].Mend != "" {
			t.Errorf("%s: %+v", server, faults)
		}
	}
}
