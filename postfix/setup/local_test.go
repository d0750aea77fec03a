package setup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDomainsOfAllClassesAreFound(t *testing.T) {
	t.Parallel()
	h := newHost(t, `
mydomain = example.org
mydestination = $myhostname localhost.$mydomain,localhost, /LIST, !not.example, [192.0.2.1]
virtual_alias_maps = hash:/etc/postfix/virtual
virtual_mailbox_domains = proxy:mysql:/etc/postfix/domains.cf, Example.ORG
relay_domains = relayed.example
`, "")
	list := filepath.Join(h.dir, "list")
	main, err := os.ReadFile(filepath.Join(h.dir, "main.cf"))
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{list: "# ours\nlisted.example, sub.example.org\n",
		filepath.Join(h.dir, "main.cf"): strings.Replace(string(main), "/LIST", list, 1)} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, err := ReadDomains(t.Context(), h.open())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"mx.example.org", "localhost.example.org", "localhost", "listed.example",
		"sub.example.org", "example.org", "relayed.example", ".relayed.example"}; !slices.Equal(
		d.Names, want) {
		t.Errorf("names %q, want %q", d.Names, want)
	}
	if want := []string{"hash:/etc/postfix/virtual", "mysql:/etc/postfix/domains.cf"}; !slices.Equal(
		d.Tables, want) {
		t.Errorf("tables %q, want %q", d.Tables, want)
	}
	// A key for each name that can be registered, save localhost's; example.org's serves for the names
	// below it.
	if want := []string{"example.org"}; !slices.Equal(d.Signable(), want) {
		t.Errorf("signable %q, want %q", d.Signable(), want)
	}
}

// The host's own name stands in mydestination, and mydomain may be the same; addresses are in other domains.
func TestTheDefaultDomainIsOneWithAddresses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ why, main, want string }{
		{"mydomain is the host's name", "mydomain = mx.example.org\nmydestination = $myhostname, " +
			"example.net, example.org\n", "example.org"},
		{"the name's domain is not here", "mydomain = mx.example.org\nmydestination = $myhostname\n" +
			"virtual_mailbox_domains = example.net, hosted.net\n", "example.net"},
		{"mydomain is here", "mydomain = hosted.net\nmydestination = $myhostname, example.org, hosted.net\n",
			"hosted.net"},
		{"a table that cannot be listed has it", "mydomain = mx.example.org\nmydestination = $myhostname\n" +
			"virtual_mailbox_domains = regexp:{{/^example\\.org$$/ x}}\n", "example.org"},
		{"it is only relayed", "mydestination = $myhostname\nrelay_domains = example.org\n",
			"mx.example.org"},
		{"there is no other", "mydestination = $myhostname\n", "mx.example.org"},
		{"the host's name is the domain", "myhostname = example.org\nmydomain = example.org\n" +
			"mydestination = $myhostname\n", "example.org"},
		{"so it is, and there are others", "myhostname = example.org\nmydomain = example.org\n" +
			"mydestination = $myhostname\nvirtual_alias_domains = a.net example.net\n", "example.org"},
		{"so it is, and mydomain is a default", "myhostname = example.org\nmydestination = $myhostname\n" +
			"virtual_alias_domains = example.net\n", "example.org"},
	} {
		main := row.main
		if !strings.Contains(main, "virtual_mailbox_domains") {
			main += "virtual_mailbox_domains =\n"
		}
		if !strings.Contains(main, "myhostname =") {
			main = "myhostname = mx.example.org\n" + main
		}
		h := newHost(t, main, "")
		c := h.open()
		d, err := ReadDomains(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		hostname, _ := c.Expand("myhostname")
		if got, err := defaultDomain(c, d, hostname); err != nil || got != row.want {
			t.Errorf("%s: %q, want %q (%v)", row.why, got, row.want, err)
		}
	}
}

func TestLocalhostGetsNoKey(t *testing.T) {
	t.Parallel()
	h := newHost(t, "mydomain = example.net\nmydestination = mail.example.net, localhost.$mydomain, "+
		"localhost\n", "")
	d, err := ReadDomains(t.Context(), h.open())
	if err != nil {
		t.Fatal(err)
	}
	got := d.Signable()
	if !slices.Contains(got, "mail.example.net") || slices.Contains(got, "localhost.example.net") {
		t.Errorf("signable %q", got)
	}
}

// A virtual alias domain commonly stands in no list, but in the table of aliases.
func TestDomainsInTablesCanHaveKeys(t *testing.T) {
	t.Parallel()
	h := newHost(t, "virtual_alias_maps = inline:{ hosted.net=x, sub.hosted.net=x, info@hosted.net=x, "+
		"example.org=x, user=x }, regexp:/nonexistent\nrelay_domains = inline:{ relayed.net=x }\n", "")
	d, err := ReadDomains(t.Context(), h.open())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"example.org", "hosted.net"}; !slices.Equal(d.Signable(), want) ||
		slices.Contains(d.Names, "hosted.net") {
		t.Errorf("signable %q, want %q; names %q", d.Signable(), want, d.Names)
	}
	if want := []string{"regexp:/nonexistent"}; !slices.Equal(d.Unlisted, want) {
		t.Errorf("not listed: %q", d.Unlisted)
	}
	entries := ""
	for i := range 101 {
		entries += fmt.Sprintf(" d%d.net=x", i)
	}
	h = newHost(t, "virtual_alias_domains = inline:{"+entries+" }\n", "")
	if d, err = ReadDomains(t.Context(), h.open()); err != nil || len(d.Listed) != 0 || len(d.Unlisted) != 1 {
		t.Errorf("more than a person looks after: %q, %v", d.Listed, err)
	}
}
