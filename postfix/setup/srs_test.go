package setup

import (
	"strings"
	"testing"

	"postmend/postfix/postconf"
	"postmend/tests/peer"
)

func TestPostSRSdsSenderTableGoesAndOthersStay(t *testing.T) {
	t.Parallel()
	h := newHost(t, `sender_canonical_maps = hash:/etc/postfix/senders, tcp:127.0.0.1:10001
recipient_canonical_maps = tcp:127.0.0.1:10002
recipient_canonical_classes = envelope_recipient, header_recipient
`, "")
	h.apply(all)
	c := h.open()
	if c.Get("sender_canonical_maps") != "hash:/etc/postfix/senders" ||
		c.Get("recipient_canonical_maps") != "tcp:127.0.0.1:10002" ||
		c.Get("recipient_canonical_classes") != "envelope_recipient, header_recipient" {
		t.Error(h.read())
	}
}

func TestAnSRSDomainWhereAnyAddressIsTakenIsRefused(t *testing.T) {
	peer.Long(t)
	t.Parallel()
	for main, refused := range map[string]string{
		"relay_domains = srs.example.org\n": "relay_recipient_maps",
		"relay_domains = srs.example.org\n" +
			"relay_recipient_maps = inline:{bob@srs.example.org=x}\n": "",
		"virtual_mailbox_domains = " +
			"srs.example.org\n": "virtual_mailbox_maps",
		"virtual_mailbox_domains = srs.example.org\n" +
			"virtual_mailbox_maps = inline:{@srs.example.org=x}\n": "virtual_mailbox_maps",
		"mydestination = srs.example.org\n" +
			"local_recipient_maps =\n": "local_recipient_maps",
		"mydestination = srs.example.org\n" +
			"local_recipient_maps = static:x\n": "local_recipient_maps",
		"mydestination = srs.example.org\n" +
			"local_recipient_maps = proxy:unix:passwd.byname\n": "",
		"virtual_alias_maps = " +
			"inline:{@srs.example.org=bob@example.org}\n": "virtual_alias_maps",
		"virtual_alias_maps = regexp:{{/./ " +
			"all@example.org}}\n": "virtual_alias_maps",
		"virtual_alias_maps = regexp:{{/@example\\.org/ " +
			"all@example.org}}\n": "",
		"smtpd_reject_unlisted_recipient = no\n": "smtpd_reject_unlisted_recipient",
		"smtpd_reject_unlisted_recipient = no\nsmtpd_recipient_restrictions = reject_unlisted_recipient, " +
			"permit\n": "",
	} {
		h := newHost(t, main, "")
		c := h.open()
		domains, err := ReadDomains(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPlan(c, domains, h.wanted)
		if err != nil {
			t.Fatal(err)
		}
		err = p.TakesAnySRSAddress(domains)
		if refused == "" && err != nil || refused != "" &&
			(err == nil || !strings.Contains(err.Error(), refused)) {
			t.Errorf("%q: %v", main, err)
		}
	}
}

// A pattern of the operator's that takes any address would answer for SRS addresses if it came first.
func TestOurTablesComeFirst(t *testing.T) {
	t.Parallel()
	h := newHost(t, "virtual_alias_maps = regexp:{{/./ all@example.org}}, hash:/etc/postfix/virtual\n", "")
	h.apply(all)
	got := postconf.List(h.open().Get("virtual_alias_maps"))
	if len(got) != 3 || !isOurs(got[0]) || strings.Contains(got[0], "$") {
		t.Errorf("virtual_alias_maps: %q", got)
	}
}

func TestPostmasterOfTheSRSDomainIsOurs(t *testing.T) {
	t.Parallel()
	for main, want := range map[string]string{
		"": "postmaster",
		"virtual_alias_domains = srs.example.org\n" +
			"virtual_alias_maps = inline:{postmaster@srs.example.org=root@example.org}\n": "root@example.org",
	} {
		h := newHost(t, main, "")
		for range 2 { // a second run sees our own tables
			h.apply(all)
		}
		c := h.open()
		found := ""
		for _, table := range postconf.List(c.Get("virtual_alias_maps")) {
			value, ok, err := c.Lookup(t.Context(), table, "postmaster@srs.example.org")
			if err == nil && ok && found == "" {
				found = value
			}
		}
		if found != want {
			t.Errorf("%q: postmaster@srs.example.org is %q, want %q", main, found, want)
		}
	}
}

func TestAnSRSDomainThatHasAClassKeepsIt(t *testing.T) {
	t.Parallel()
	for _, main := range []string{
		"relay_domains = srs.example.org\n",
		"virtual_alias_domains = inline:{srs.example.org=x}\n",
		"virtual_mailbox_domains = srs.example.org\n",
	} {
		h := newHost(t, main, "")
		p, err := h.plan()
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range p.Changes {
			if change.Name == "virtual_alias_domains" {
				t.Errorf("%q: virtual_alias_domains becomes %s", main, *change.Now)
			}
		}
	}
}
