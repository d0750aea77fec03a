package tests

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postmend/dkim"
	"postmend/tests/judge"
	"postmend/tests/mta"
	"postmend/tests/receiver"
)

// rulesConfig has each rule of the policy once. redirectRule works as a content filter only.
const (
	rulesConfig = `
[dmarc]
from_name = "{name} ({address}), by {alias}"
[[dmarc.destination]]
domain = "example.net"
munge_from = "always"
[[dmarc.destination]]
domain = "never.example"
munge_from = "never"
[[dmarc.trusted_authors]]
domain = "partner.example"
spf = "mail.esp.example"
[[dmarc.trusted_authors]]
domain = "branch.example"
network = "192.0.2.64/28"
[[dmarc.trusted_authors]]
domain = "example.org"
network = "192.0.2.64/28"
[arc]
trusted_sealers = ["list.example"]
[[spam]]
field = "X-Spam-Flag"
value = "yes"
action = "discard"
[[spam]]
field = "X-Spam-Status"
value = "yes"
action = "unsigned"
`
	redirectRule = `[[spam]]
field = "X-Spam"
value = "yes"
action = "redirect"
redirect = "spam@example.org"
`
	rulesZone = `bank.example TXT v=spf1 ip4:192.0.2.25 -all
_dmarc.bank.example TXT v=DMARC1; p=reject
plain.example TXT v=spf1 ip4:192.0.2.25 -all
mail.esp.example TXT v=spf1 ip4:192.0.2.30 -all
partner.example TXT v=spf1 -all
_dmarc.partner.example TXT v=DMARC1; p=reject
branch.example TXT v=spf1 -all
_dmarc.branch.example TXT v=DMARC1; p=quarantine
example.org TXT v=spf1 ip4:` + ourAddress + ` -all
_dmarc.example.org TXT v=DMARC1; p=reject
srs.example.org TXT v=spf1 ip4:` + ourAddress + ` -all
`
	// An earlier filter writes marks, for senders of these names.
	spamFilter = `smtpd_sender_restrictions = check_sender_access inline:{
  {flagged@bank.example = PREPEND X-Spam-Flag: YES},
  {named@bank.example = PREPEND X-Spam: Yes},
  {scored@bank.example = PREPEND X-Spam-Status: Yes, score=9.1} }
`
)

// ruled is a message that a rule is about.
type ruled struct {
	name, client, from, author, to string
	changed                        func(message string) string // on its way; nil is not
	left                           string                      // From: as it leaves; "" if it does not
	signed                         bool
	local                          string // the mailbox that it is delivered to; "" is none
}

func (r ruled) content(n int) string {
	content := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: hello\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\n"+
		"Message-ID: <%d@bank.example>\r\nX-Token: %[3]d\r\n\r\nGood morning.\r\n", r.author, r.to, n)
	if r.changed != nil {
		content = r.changed(content)
	}
	return content
}

// TestEachRuleOfThePolicyDoesOnPostfixWhatItSays: by pipe(8) and by LMTP, as a content filter and as the
// transport. pyspf and dkimpy judge what leaves.
func TestEachRuleOfThePolicyDoesOnPostfixWhatItSays(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]func(f *forwarder, main, master *string){
		"pipe":              func(*forwarder, *string, *string) {},
		"LMTP":              func(f *forwarder, main, master *string) { byLMTP(f, main, master) },
		"pipe as transport": asTransport,
		"LMTP as transport": func(f *forwarder, main, master *string) {
			byLMTP(f, main, master)
			asTransport(f, main, master)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			isFilter := !strings.Contains(name, "transport")
			f := startChanged(t, func(f *forwarder, main, master *string) {
				rules := rulesConfig
				if isFilter {
					rules += redirectRule
				}
				f.configure("[log]", rules+"[log]")
				replace(t, main, "alias@example.org=remote@example.com",
					"alias@example.org=remote@example.com, never@example.org=x@never.example, "+
						"{both@example.org=remote@example.com, box@example.org}")
				*main = mta.Merge(*main, spamFilter)
				way(f, main, master)
			})
			f.obeyRules(t, isFilter)
		})
	}
}

// obeyRules sends each message, and checks where it comes out, and how.
func (f *forwarder) obeyRules(t *testing.T, isFilter bool) {
	f.check(f.dns.Add(rulesZone))
	zone := rulesZone
	for name, record := range f.records() {
		zone += name + " TXT " + record + "\n"
	}
	all := ruledMessages(f.sealedBy(t, "list.example"), f.sealedBy(t, "other.example"))
	if isFilter {
		all = append(all, ruled{"spam that is redirected", "192.0.2.25", "named@bank.example",
			"Alice <named@bank.example>", "alias@example.org", nil, "", false, "spam@example.org"})
	}
	for n, r := range all {
		id := mta.Submit(t, f.smtp, mta.Mail{From: r.from, To: []string{r.to},
			XClient: "NAME=client.example ADDR=" + r.client, Content: []byte(r.content(n))})
		f.WaitLog(0, id+": removed")
	}
	f.waitEmptyQueue()
	left, local := f.byToken(f.remote.Messages()), f.byToken(f.local.Messages())
	var arrivals []judge.Arrival
	var numbers []int
	for n, r := range all {
		if got := local[n]; r.local == "" && len(got) > 0 ||
			r.local != "" && (len(got) != 1 || got[0].To[0] != r.local) {
			t.Errorf("%s: %d came to mailboxes here", r.name, len(got))
		}
		if got := left[n]; r.left == "" && len(got) > 0 || r.left != "" && len(got) != 1 {
			t.Errorf("%s: %d left", r.name, len(got))
		} else if r.left != "" {
			numbers = append(numbers, n)
			arrivals = append(arrivals, judge.Arrival{Address: ourAddress, HELO: ourHELO,
				Sender: got[0].From, Content: got[0].Content})
		}
	}
	for i, e := range receiver.DMARC(t, zone, arrivals) {
		all[numbers[i]].check(t, arrivals[i].Content, e)
	}
}

// byToken sorts what came; bounces are left out.
func (f *forwarder) byToken(messages []mta.Received) map[int][]mta.Received {
	sorted := map[int][]mta.Received{}
	for _, m := range messages {
		var n int
		header, _, _ := bytes.Cut(m.Content, []byte("\r\n\r\n"))
		found := regexp.MustCompile(`\nX-Token: (\d+)\r`).FindSubmatch(append(header, '\r'))
		if found != nil {
			fmt.Sscan(string(found[1]), &n)
			sorted[n] = append(sorted[n], m)
		}
	}
	return sorted
}

// check compares a message that has left with what its rule says. One with our From: passes DMARC at the
// receiver, and one that was not mended does not pass because of us.
func (r ruled) check(t *testing.T, content []byte, e receiver.Evaluation) {
	t.Helper()
	signed := false
	for _, s := range e.Signatures {
		signed = signed || s.Domain == "example.org" && s.Passed
	}
	isOurs := strings.Contains(r.left, "@example.org>")
	header, _, _ := bytes.Cut(content, []byte("\r\n\r\n"))
	from := regexp.MustCompile(`(?m)^From: (.*(?:\r\n[ \t].*)*)\r$`).FindSubmatch(append(header, '\r', '\n'))
	if from == nil || strings.Join(strings.Fields(string(from[1])), " ") != r.left ||
		signed != r.signed || e.Passed() != isOurs {
		t.Errorf("%s: From: %q, want %q; signed: %t, want %t; passes: %t\n%s", r.name, from, r.left, signed,
			r.signed, e.Passed(), content)
	}
}

// ruledMessages are all but the one that is redirected. The functions seal a message, as trusted lists and
// others do.
func ruledMessages(trusted, untrusted func(string) string) []ruled {
	const alias, bank, elsewhere = "alias@example.org", "192.0.2.25", "203.0.113.9"
	ours := func(name, address string) string {
		return `"` + name + " (" + strings.Replace(address, "@", " at ", 1) +
			`), by alias at example.org" <alias@example.org>`
	}
	alice := "Alice <alice@bank.example>"
	broken := func(message string) string {
		return strings.Replace(trusted(message), "Good morning", "Good evening", 1)
	}
	below := func(message string) string {
		return "Received: from a.example (a.example [192.0.2.9]) by mail.bank.example (Postfix) with SMTP " +
			"id 1; Mon, 2 Nov 2026 10:00:00 +0000\r\nX-Spam-Flag: YES\r\n" + message
	}
	return []ruled{
		{"the name's form", bank, "alice@bank.example", alice, alias, nil,
			ours("Alice", "alice@bank.example"), true, ""},
		{"a destination with always, no DMARC record", bank, "a@plain.example", "Alice <a@plain.example>",
			"other@example.org", nil,
			`"Alice (a at plain.example), by other at example.org" <other@example.org>`, true, ""},
		{"another destination, no DMARC record", bank, "a@plain.example", "Alice <a@plain.example>", alias,
			nil, "Alice <a@plain.example>", true, ""},
		{"a destination with always, SPF fails", elsewhere, "a@plain.example", "Alice <a@plain.example>",
			"other@example.org", nil, "Alice <a@plain.example>", true, ""},
		{"a destination with always, DMARC fails", elsewhere, "alice@bank.example", alice,
			"other@example.org", nil, alice, false, ""},
		{"a destination with never", bank, "alice@bank.example", alice, "never@example.org", nil, alice,
			true, ""},
		{"a trusted author by SPF", "192.0.2.30", "b@mail.esp.example", "Bob <bob@partner.example>", alias,
			nil, ours("Bob", "bob@partner.example"), true, ""},
		{"a trusted author by SPF, from elsewhere", elsewhere, "b@mail.esp.example",
			"Bob <bob@partner.example>", alias, nil, "Bob <bob@partner.example>", false, ""},
		{"a trusted author by his network", "192.0.2.70", "x@other.example", "Carol <carol@branch.example>",
			alias, nil, ours("Carol", "carol@branch.example"), true, ""},
		{"a trusted author by his network, from elsewhere", elsewhere, "x@other.example",
			"Carol <carol@branch.example>", alias, nil, "Carol <carol@branch.example>", false, ""},
		{"our own domain is never trusted", "192.0.2.70", "x@other.example", "Boss <boss@example.org>", alias,
			nil, "", false, ""},
		{"a trusted sealer", elsewhere, "list@other.example", alice, alias, trusted,
			ours("Alice", "alice@bank.example"), true, ""},
		{"a sealer that is not trusted", elsewhere, "list@other.example", alice, alias, untrusted, alice,
			false, ""},
		{"a trusted sealer's chain that broke", elsewhere, "list@other.example", alice, alias, broken, alice,
			false, ""},
		{"spam that is discarded", bank, "flagged@bank.example", "Alice <flagged@bank.example>", alias, nil,
			"", false, ""},
		{"spam that is discarded, beside a mailbox", bank, "flagged@bank.example",
			"Alice <flagged@bank.example>", "both@example.org", nil, "", false, "box@example.org"},
		{"spam that is not signed", bank, "scored@bank.example", "Alice <scored@bank.example>", alias, nil,
			"Alice <scored@bank.example>", false, ""},
		{"a mark of another host", bank, "alice@bank.example", alice, alias, below,
			ours("Alice", "alice@bank.example"), true, ""},
	}
}

// sealedBy gives dkimpy's seal of a domain, which has seen DMARC pass.
func (f *forwarder) sealedBy(t *testing.T, domain string) func(string) string {
	path := filepath.Join(t.TempDir(), "sealer.pem")
	pem, err := rsaKeyPEM()
	f.check(err)
	f.check(os.WriteFile(path, pem, 0o600))
	key, err := dkim.LoadKey(domain, "s", path)
	f.check(err)
	record, err := key.Record()
	f.check(err)
	f.check(f.dns.Add(key.RecordName() + " TXT " + record))
	sealer := judge.DKIMPySealer(t, map[string]string{key.RecordName(): record})
	return func(message string) string {
		results := ""
		for n := range 5 { // one of these is the name that the sealer has this time
			results += fmt.Sprintf("Authentication-Results: mx%d.%s; dmarc=pass (p=REJECT) "+
				"header.from=bank.example\r\n", n, domain)
		}
		return string(sealer.Seal([]byte(results+message), "none", domain, "s", path))
	}
}
