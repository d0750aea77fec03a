package check

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postmend/dkim"
	"postmend/filter/authn/dnsserver"
	"postmend/postfix/access"
)

// writeConfig writes a configuration for mx.example.org with a secret and a key, and gives its path.
func writeConfig(t *testing.T, resolver string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	key, err := dkim.GenerateKey("")
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("hostname = \"mx.example.org\"\nresolver = %q\nlocal_domains = [\"example.org\"]\n"+
		"[srs]\ndomain = \"srs.example.org\"\nsecrets_file = \"srs.secrets\"\n"+
		"[[dkim.keys]]\ndomain = \"example.org\"\nselector = \"s\"\nfile = \"key.pem\"\n", resolver)
	for name, content := range map[string]string{"srs.secrets": "correct horse battery staple\n",
		"key.pem": string(key), "postmend.toml": text} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "postmend.toml")
}

// dnsFindings judges what a zone says of a host in example.org whose addresses are known from its name.
func dnsFindings(t *testing.T, zone, relayhost string) []Finding {
	t.Helper()
	return dnsFindingsOf(t, zone, writeConfig(t, ""), func(p *published) { p.relayhost = relayhost })
}

// dnsFindingsOf is the same for a configuration whose resolver gives way to one that knows the zone.
func dnsFindingsOf(t *testing.T, zone, config string, known ...func(*published)) []Finding {
	t.Helper()
	server, err := dnsserver.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	o := gatherOwn("/bin/postmend", config)
	if o.configErr != nil {
		t.Fatal(o.configErr)
	}
	o.config.Resolver = server.Addr()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := gatherDNS(ctx, o, nil)
	for _, set := range known {
		set(p)
	}
	return p.judge()
}

func severityOfFinding(findings []Finding, name string) Severity {
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
mx.example.org TXT v=spf1 a -all
10.2.0.192.in-addr.arpa SERVFAIL
srs.example.org SERVFAIL
s._domainkey.example.org SERVFAIL
_dmarc.example.org SERVFAIL
`, "")
	for _, name := range []string{"dns-ptr", "dns-spf", "dns-mx", "dns-dkim", "dns-dmarc"} {
		if got := severityOfFinding(findings, name); got != Warning {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, f := range findings {
		if f.Publish != "" {
			t.Errorf("a record is to be published, and nobody knows whether it is there: %+v", f)
		}
	}
}

// One name at a time fails, or all of them: no finding may blame what was not seen, or have anything changed.
func TestANameThatFailsIsBlamedForNothing(t *testing.T) {
	config := writeConfig(t, "127.0.0.1:1")
	key, err := dkim.LoadKey("example.org", "s", filepath.Join(filepath.Dir(config), "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	published, err := key.Record()
	if err != nil {
		t.Fatal(err)
	}
	records := []string{
		"mx.example.org A 192.0.2.10", "mx.example.org TXT v=spf1 a -all",
		"10.2.0.192.in-addr.arpa PTR host.example.net", "host.example.net A 192.0.2.10",
		"srs.example.org MX 10 in.example.net", "in.example.net A 192.0.2.10",
		"srs.example.org TXT v=spf1 a:out.example.net -all", "out.example.net A 192.0.2.10",
		key.RecordName() + " TXT " + published, "_dmarc.example.org TXT v=DMARC1; p=none",
	}
	names := map[string]bool{"": true, "all": true}
	for _, record := range records {
		name, _, _ := strings.Cut(record, " ")
		names[name] = true
	}
	for failing := range names {
		zone := ""
		for _, record := range records {
			if name, _, _ := strings.Cut(record, " "); name == failing || failing == "all" {
				record = name + " SERVFAIL"
			}
			zone += record + "\n"
		}
		var wrong []Finding
		for _, f := range dnsFindingsOf(t, zone, config) {
			if f.Severity == OK {
				continue
			}
			wrong = append(wrong, f)
			if f.Severity == Error || f.Publish != "" || f.Edit != nil || f.Mend != "" ||
				!strings.Contains(f.What, "did not answer") && !strings.Contains(f.What, "not judged") {
				t.Errorf("%s fails: %+v", failing, f)
			}
		}
		if (failing == "") != (wrong == nil) {
			t.Errorf("%q fails: %+v", failing, wrong)
		}
	}
}

func TestWhatCannotBeKnownIsANote(t *testing.T) {
	const zone = "mx.example.org A %s\nsrs.example.org MX 10 mx.example.org\nsrs.example.org MX 20 " +
		"backup.example.net\nsrs.example.org TXT v=spf1 ip4:198.51.100.1 -all\n"
	findings := dnsFindings(t, fmt.Sprintf(zone, "192.0.2.10"), "[relay.example.net]")
	for _, name := range []string{"dns-spf", "dns-mx"} {
		if got := severityOfFinding(findings, name); got != Note {
			t.Errorf("with a relayhost and a second MX: %s: %q", name, got)
		}
	}
	if got := severityOfFinding(dnsFindings(t, fmt.Sprintf(zone, "10.0.0.1"), ""), "dns-ptr"); got != Note {
		t.Errorf("a private address: %q", got)
	}
	findings = dnsFindings(t, "srs.example.org TXT v=spf1 mx -all\n", "")
	for name, want := range map[string]Severity{"dns-hostname": Error, "dns-ptr": Note, "dns-spf": Note} {
		if got := severityOfFinding(findings, name); got != want {
			t.Errorf("without any address: %s: %q", name, got)
		}
	}
}

// RFC 7208 section 4.5: without a record the result is none, wherever mail comes from.
func TestWithoutAnSPFRecordNoAddressPasses(t *testing.T) {
	for name, findings := range map[string][]Finding{
		"directly": dnsFindings(t, "mx.example.org A 192.0.2.10\n", ""),
		"through a relayhost": dnsFindings(t, "mx.example.org A 192.0.2.10\n",
			"[relay.example.net]"),
		"behind NAT":                   dnsFindings(t, "mx.example.org A 10.0.0.1\n", ""),
		"from an address nobody knows": dnsFindings(t, "", ""),
		"with two records": dnsFindings(t,
			"srs.example.org TXT v=spf1 mx -all\nsrs.example.org TXT v=spf1 a -all\n", "[relay.example.net]"),
	} {
		if got := severityOfFinding(findings, "dns-spf"); got != Error {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestTheKeyThatWasMeantIsNamed(t *testing.T) {
	for key, want := range map[string]string{
		"hostnaem": "hostname", "srss": "srs", "dmarc.munge_form": "munge_from",
		"dkim.keys.selektor": "selector", "nonsense": "", "limits.hostname": "", "nosuch.key": "",
	} {
		if got := meantKey(key); got != want {
			t.Errorf("%s: %q", key, got)
		}
	}
}

func TestAnEditNamesItsLine(t *testing.T) {
	p := postmend{ConfigFile: "/etc/x.toml",
		Text: "hostname = \"mx\"\nlocal_domains = [\"a.example\"]\n[reinject]\ntarget = \"x\"\n"}
	for want, edit := range map[string]*Edit{
		`in /etc/x.toml, line 1: hostname = "mx.example.org"`: p.setKey(
			"hostname", "mx.example.org"),
		`in /etc/x.toml, line 4: target = "smtp://127.0.0.1:10026"`: p.setKey(
			"reinject.target", "smtp://127.0.0.1:10026"),
		`in /etc/x.toml, section [reinject]: add the line user = "me"`: p.setKey(
			"reinject.user", "me"),
		`in /etc/x.toml, line 2: add "b.example" to local_domains`: p.addTo(
			"local_domains", "b.example"),
		`in /etc/x.toml, above the first section: add the line local_domains_maps = ["hash:/x"]`: p.addTo(
			"local_domains_maps", "hash:/x"),
	} {
		if edit.String() != want {
			t.Errorf("%s, want %s", edit, want)
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
		o := &own{isRoot: true, account: access.MissingUser("postmend")}
		faults := o.judgePrivate(access.LookAt(path), loadErr, "make NEW")
		if len(faults) != 1 || faults[0].What == "" || (row.mend == "") != (faults[0].Mend == "") ||
			!strings.Contains(faults[0].Mend, row.mend) {
			t.Errorf("%s: %+v", name, faults)
		}
	}
}

func TestWhatOnlyRootMayReadIsNotJudgedForOthers(t *testing.T) {
	o := &own{account: access.MissingUser("postmend")}
	denied := &fs.PathError{Op: "open", Path: "/etc/postmend/srs.secrets", Err: syscall.EACCES}
	for _, file := range []access.File{{Path: denied.Path, Mode: 0o600}, {Path: denied.Path, Err: denied}} {
		faults := o.judgePrivate(file, fmt.Errorf("srs: %w", denied), "make NEW")
		if len(faults) != 1 || faults[0].Severity != Note || faults[0].Mend != "" {
			t.Errorf("%+v", faults)
		}
	}
	if faults := judgeRoot(o); len(faults) != 1 || !strings.Contains(faults[0].What, "does not run as root") {
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
	failing, err := dnsserver.Start("mx.example.org SERVFAIL\n")
	if err != nil {
		t.Fatal(err)
	}
	defer failing.Close()
	for server, says := range map[string]string{
		address:        "or name another",
		failing.Addr(): "dig +trace mx.example.org",
	} {
		config := writeConfig(t, server)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		p := gatherDNS(ctx, gatherOwn("/bin/postmend", config), nil)
		cancel()
		faults := judgeHostAddress(p)
		if len(faults) != 1 || !strings.Contains(faults[0].What, says) {
			t.Errorf("%s: %+v", server, faults)
		}
	}
}
