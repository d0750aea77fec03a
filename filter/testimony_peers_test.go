package filter

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postmend/tests/judge"
)

// Chains that dkimpy, Mail::DKIM and mailauth made count as our own do: each of one and of two sealers, with
// the second sealer trusted or not, and with the message changed after the last seal.
func TestChainsOfOtherImplementationsVouchIfTheirSealersAreTrusted(t *testing.T) {
	if testing.Short() {
		t.Skip("other programs are slow")
	}
	t.Setenv("GODEBUG", "rsa1024min=0") // for a key of newWorld
	w := newWorld(t)
	der, err := x509.MarshalPKCS8PrivateKey(w.keys["other"])
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(key, text, 0o600); err != nil {
		t.Fatal(err)
	}
	zone := "_dmarc.bank.example TXT v=DMARC1; p=reject\nbank.example TXT v=spf1 -all\n"
	records := map[string]string{}
	for _, domain := range []string{"dkimpy.example", "maildkim.example", "mailauth.example"} {
		records["s._domainkey."+domain] = w.records["other"]
		zone += "s._domainkey." + domain + " TXT " + w.records["other"] + "\n"
	}
	dns := w.dns(t, scenario{"zone": zone})
	sealers := map[string]*judge.Sealer{
		"dkimpy.example": judge.DKIMPySealer(t, records), "maildkim.example": judge.MailDKIMSealer(t, dns),
		"mailauth.example": judge.MailauthSealer(t)}
	// A sealer takes over what it has found itself: the field that has its name.
	const letter = "From: Alice <alice@bank.example>\r\nTo: alias@example.org\r\nSubject: hello\r\n" +
		"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@bank.example>\r\n\r\nGood morning.\r\n"
	count := 0
	seal := func(message, domain, status, dmarc string) string {
		results := ""
		for n := range 20 { // one of these is the name that the sealer has this time
			results += fmt.Sprintf("Authentication-Results: mx%d.%s;\r\n dmarc=%s (p=REJECT) "+
				"header.from=bank.example\r\n", n, domain, dmarc)
		}
		count++
		return string(sealers[domain].Seal([]byte(results+message), status, domain, "s", key))
	}
	run := func(message string, trusted ...string) *outcome {
		t.Helper()
		return w.play(t, scenario{"zone": zone, "message": strings.ReplaceAll(message, "\r\n", "\n"),
			"config":   "[arc]\ntrusted_sealers = [\"" + strings.Join(trusted, `", "`) + "\"]\n",
			"envelope": "from: bounce@list.example\nto: bob@remote.example\noriginal: alias@example.org\n"})
	}
	expect := func(how, want string, o *outcome) {
		t.Helper()
		o.checkRules(t)
		if len(o.sent) != 1 || o.fromWord(o.sent[0].text) != want {
			t.Errorf("%s: want From: %s\n%s", how, want, o)
		}
	}
	for first := range sealers {
		one := seal(letter, first, "none", "pass")
		expect(first, "alias@example.org", run(one, first))
		expect(first+" not trusted", "untouched", run(one, "elsewhere.example"))
		expect(first+" and another body", "untouched", run(strings.Replace(one, "Good", "Bad", 1), first))
		expect(first+" that saw it fail", "untouched", run(seal(letter, first, "none", "fail"), first))
		for second := range sealers {
			if second == first {
				continue
			}
			two := seal(strings.Replace(one, "\r\nSubject: ", "\r\nSubject: [list] ", 1), second, "pass",
				"fail")
			expect("broken before the second seal of "+second, "untouched",
				run(seal(strings.Replace(one, "Good", "Bad", 1), second, "fail", "fail"), first, second))
			expect(first+" and "+second, "alias@example.org", run(two, first, second))
			expect(first+" below an untrusted "+second, "untouched", run(two, first))
			expect(second+" above an untrusted "+first, "untouched", run(two, second))
		}
	}
}
