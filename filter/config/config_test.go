package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"postmend/filter/cause"
	"postmend/filter/domain"
)

func load(t *testing.T, text string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "postmend.toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

// designConfig is the configuration of the design: its names are fixed.
const designConfig = `
hostname      = "mx.example.org"
local_domains = ["example.org"]
resolver      = ""
trusted_networks = ["127.0.0.0/8", "::1/128"]
trusted_authserv_ids = []

[srs]
domain       = "srs.example.org"
secrets_file = "/etc/postmend/srs.secrets"
separator    = "="
max_age      = "21d"
hash_length  = 4

[[dkim.keys]]
domain   = "example.org"
selector = "2026a"
file     = "/etc/postmend/dkim/example.org.2026a.pem"
[dkim]
default_domain = "example.org"

[dmarc]
munge_from    = "when-needed"
on_dmarc_fail = "forward"
on_own_domain_forgery = "policy"

[arc]
seal = true

[reinject]
target = "smtp://127.0.0.1:10026"

[limits]
deadline = "60s"
memory_spool = "1MiB"
spool_dir    = ""
`

func TestTheDesignsConfigurationIsTaken(t *testing.T) {
	c, err := load(t, designConfig)
	if err != nil {
		t.Fatal(err)
	}
	if time.Duration(c.SRS.MaxAge) != 21*24*time.Hour || time.Duration(c.Limits.Deadline) != time.Minute ||
		c.Limits.MemorySpool != 1<<20 ||
		c.DKIM.Keys[0].Selector != "2026a" || c.ARC.Seal != SealAlways {
		t.Errorf("read as %+v", c)
	}
}

func TestDefaultsAreThoseOfTheDesign(t *testing.T) {
	c, err := load(t, "[srs]\ndomain = \"srs.example.org\"\nsecrets_file = \"secrets\"\n[[dkim.keys]]\n"+
		"domain = \"Example.org\"\nselector = \"s\"\nfile = \"key.pem\"\n[limits]\nspool_dir = \"spool\"\n"+
		"[log]\nsocket = \"log\"\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	if c.Reinject.Target != "smtp://127.0.0.1:10026" || c.SRS.Separator != "=" ||
		time.Duration(c.SRS.MaxAge) != 21*24*time.Hour ||
		time.Duration(c.Limits.Deadline) != time.Minute || !slices.Equal(c.TrustedNetworks, want) ||
		c.Hostname == "" || c.DKIM.DefaultDomain != "example.org" {
		t.Errorf("got %+v", c)
	}
	for _, path := range []string{c.SRS.SecretsFile, c.DKIM.Keys[0].File, c.Limits.SpoolDir, c.Log.Socket} {
		if !filepath.IsAbs(path) {
			t.Errorf("%q stayed relative", path)
		}
	}
}

const onSRS = "[srs]\ndomain = \"a.example\"\nsecrets_file = \"s\"\n"

// badConfigurations are files that are refused, and what the error says.
var badConfigurations = []struct{ text, want string }{
	{"mumble = 1\n", "line 1: unknown key \"mumble\""},
	{"\n# x\n[srs]\n  domian = \"x.example\"\n", "line 4: unknown key \"srs.domian\""},
	{"[dkim]\n[[dkim.keys]]\n\"selektor\" = 1\n", "line 3: unknown key \"dkim.keys.selektor\""},
	{"hostname = \"a\"\n[mumble]\nx = 1\n", "line 2: unknown key \"mumble\""},
	{"srs.mumble = 1\n", "line 1: unknown key"},
	{"local_domains = 7\n", "line 1"},
	{"local_domains = \"example.org\"\n", "line 1"},
	{"\n\n[limits]\ndeadline = \"soon\"\n", "line 4"},
	{"[limits]\ndeadline = \"-1s\"\n", "not a duration"},
	{"[limits]\ndeadline = 60\n", "line 2"},
	{"[limits]\nmemory_spool = \"much\"\n", "not a size"},
	{"[limits]\nmemory_spool = \"1KiBMiB\"\n", "not a size"},
	{"limits = { x = 1 }\n", ": unknown key \"limits.x\""},
	{"[srs]\ndomain = \"a.example\"\nsecrets_file = \"s\"\nhash_length = 30\n", "hash_length 30"},
	{"[srs]\ndomain = \"a.example\"\nsecrets_file = \"s\"\nmax_age = \"600d\"\n", "max_age"},
	{"[srs]\ndomain = \"a.example\"\nsecrets_file = \"s\"\nseparator = \"_\"\n", "separator"},
	{"[srs]\nmax_age = \"99999999d\"\n", "not a duration"},
	{"trusted_networks = [\"127.0.0.1/99\"]\n", "line 1"},
	{"hostname = \"$myhostname\"\n", "$names are not expanded"},
	{"hostname = \"a b\"\n", "hostname"},
	{"hostname = \"x\n", "line 1"},
	{"[srs]\ndomain = \"srs.example.org\"\n", "secrets_file"},
	{"[srs]\nseparator = \"==\"\n", "separator"},
	{"[srs]\nstore = \"dir:/srv/srs\"\n", "store is set, but domain is not"},
	{"[srs]\nstore_user = \"u\"\n", "store is not"},
	{onSRS + "store = \"dir:srs\"\n", "absolute"},
	{onSRS + "store = \"/srv/srs\"\n", "dir:/PATH"},
	{onSRS + "store = \"redis://u:p@h/0\"\n", "store_password_file"},
	{onSRS + "store = \"dir:/srv\"\nstore_password_file = \"p\"\n", "store is a folder"},
	{onSRS + "store = \"redis://h\"\nstore_user = \"u\"\n", "store_password_file"},
	{onSRS + "store = \"redis://h\"\nstore_ca_file = \"ca.pem\"\n", "rediss://"},
	{onSRS + "store = \"redis+unix:///run/v\"\nstore_ca_file = \"ca.pem\"\n", "rediss://"},
	{onSRS + "store = \"dir:/srv\"\nstore_ca_file = \"ca.pem\"\n", "rediss://"},
	{onSRS + "store_ca_file = \"ca.pem\"\n", "store is not"},
	{onSRS + "store = \"redis://h\"\nstore_timeout = \"0s\"\n", "duration"},
	{onSRS + "store = \"redis://h\"\nstore_patience = \"an hour\"\n", "duration"},
	{"[dkim]\ndefault_domain = \"a.example\"\n", "has no [[dkim.keys]]"},
	{"[[dkim.keys]]\nselector = \"a\"\n", "number 1: domain"},
	{"[[dkim.keys]]\ndomain = \"a.example\"\n", "number 1: selector"},
	{"[arc]\ndomain = \"a.example\"\n", "has no [[dkim.keys]]"},
	{"[arc]\nselector = \"b\"\n", "selector \"b\""},
	{"[arc]\nseal = \"sometimes\"\n", "one of always, when-needed, never"},
	{"[arc]\nseal = 1\n", "one of always, when-needed, never"},
	{"[dmarc]\nmunge_from = \"sometimes\"\n", "when-needed, never, always"},
	{"[[dmarc.destination]]\nmunge_from = \"always\"\n", "destination, number 1: domain"},
	{"[[dmarc.destination]]\ndomain = \"a.example\"\n",
		"number 1: munge_from: \"\" is not one of when-needed, never, always"},
	{"[[dmarc.destination]]\ndomain = \"user@a.example\"\nmunge_from = \"never\"\n", "not a domain name"},
	{"[dmarc]\nfrom_name = \"{nmae}\"\n", "dmarc: from_name: {nmae} is not one of"},
	{"[dmarc]\nfrom_name = \"{local} at {domain}\"\n", "not the author's"},
	{"[reinject]\nca_file = 1\n", "line 2"},
	{"[[dmarc.trusted_authors]]\nspf = \"a.example\"\n", "trusted_authors, number 1: domain"},
	{"[[dmarc.trusted_authors]]\ndomain = \"a.example\"\n", "number 1: set spf or network"},
	{"[[dmarc.trusted_authors]]\ndomain = \"a.example\"\nspf = \"a.example\"\n" +
		"network = \"192.0.2.1\"\n", "not both"},
	{"[[dmarc.trusted_authors]]\ndomain = \"a.example\"\nnetwork = \"0.0.0.0/0\"\n",
		"not the network of one author"},
	{"[[dmarc.trusted_authors]]\ndomain = \"a.example\"\nnetwork = \"::ffff:192.0.2.1\"\n",
		"not the network of one author"},
	{"[[dmarc.trusted_authors]]\ndomain = \"a.example\"\nnetwork = \"::/0\"\n",
		"not the network of one author"},
	{"[[dmarc.trusted_authors]]\ndomain = \"a.example\"\nnetwork = \"somewhere\"\n",
		"not an address or prefix"},
	{"[dmarc]\ntrusted_authors = [{ domain = \"a.example\", spf = \"b c\" }]\n",
		"spf: \"b c\" is not a domain"},
	{"[[spam]]\nfield = \"X Spam\"\n", "spam, number 1: field"},
	{"[[spam]]\nvalue = \"YES\"\n", "number 1: field: \"\" is not the name"},
	{"[[spam]]\nfield = \"X\"\naction = \"discard\"\n", "number 1: value: \"\" is empty"},
	{"[[spam]]\nfield = \"X\"\nvalue = \"Y\"\n",
		"action: \"\" is not one of discard, unsigned, redirect"},
	{"[[spam]]\nfield = \"X\"\nvalue = \"Y\"\naction = \"redirect\"\n",
		"redirect: \"\" is not an address"},
	{"[[spam]]\nfield = \"X\"\nvalue = \"Y\"\naction = \"discard\"\nredirect = \"a@b.example\"\n",
		"action is"},
	{"[dmarc]\non_dmarc_fail = \"bounce\"\n", "forward, reject, discard"},
	{"[dmarc]\non_own_domain_forgery = \"maybe\"\n", "policy, reject, forward"},
}

func TestABadConfigurationIsNamed(t *testing.T) {
	for _, c := range badConfigurations {
		_, err := load(t, c.text)
		var failure *cause.Failure
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %s", c.text, err, c.want)
		} else if !errors.As(err, &failure) || failure.Kind != cause.Configuration ||
			strings.Contains(failure.Reason, "/") {
			t.Errorf("%q: %+v", c.text, failure)
		}
	}
}

func TestFilesThatCannotBeReadAreNamed(t *testing.T) {
	if _, err := Load("/nonexistent/postmend.toml"); err == nil ||
		!strings.Contains(err.Error(), "/nonexistent/postmend.toml") {
		t.Errorf("no configuration: %v", err)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(pipe); err == nil || !strings.Contains(err.Error(), pipe+" is a pipe") {
		t.Errorf("a pipe: %v", err)
	}
	c, err := load(t, "local_domains_file = \"/nonexistent/domains\"\n")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.LocalSet(); err == nil || !strings.Contains(err.Error(), "/nonexistent/domains") {
		t.Errorf("no local_domains_file: %v", err)
	}
	for _, bad := range []string{"$mydomain", "a..b", "*.example.org", "-x.example"} {
		c := &Config{LocalDomains: []string{bad}}
		if _, err := c.LocalSet(); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("local domain %q: %v", bad, err)
		}
	}
}

func TestLocalDomainsComeFromListFileAndSRS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "domains")
	if err := os.WriteFile(file, []byte("# ours\n\n  Two.example  \n.three.example\nbücher.example\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	c := &Config{LocalDomains: []string{"one.example"}, LocalDomainsFile: file,
		SRS: SRS{Domain: "srs.example"}}
	set, err := c.LocalSet()
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{"a@ONE.example": true, "a@two.example.": true,
		"a@x.y.three.example": true, "a@three.example": false,
		"a@srs.example": true, "a@bücher.example": true, "a@xn--bcher-kva.example": true,
		"a@x.one.example": false, "a@example": false, "a@": false} {
		if got := set.Has(domain.Of(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

func TestSecretsThatOthersMayReadAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(file, []byte("first\n\n second \r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	srs := &SRS{SecretsFile: file}
	secrets, err := srs.Secrets()
	if err != nil || len(secrets) != 2 || string(secrets[0]) != "first" || string(secrets[1]) != "second" {
		t.Errorf("read %q, %v", secrets, err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := srs.Secrets(); err != nil {
		t.Errorf("readable by the group: %v", err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := srs.Secrets(); err == nil || !strings.Contains(err.Error(), "chmod g-w,o= "+file) ||
		strings.Contains(err.Error(), "first") {
		t.Errorf("readable by all: %v", err)
	}
}
