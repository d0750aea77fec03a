package tests

import (
	"strings"
	"testing"

	"postmend/tests/mta"
)

// The milter asks for the macros that it needs (SMFIF_SETSYMLIST), whatever main.cf sends by default: a user
// who logged in is not a forger, and the log names the queue id.
func TestTheMilterDoesNotDependOnPostfixsMacroSettings(t *testing.T) {
	t.Parallel()
	f := startChanged(t, func(f *forwarder, main, master *string) {
		withDoor(f, main, master)
		*main = mta.Merge(*main, `smtpd_relay_restrictions = check_helo_access static:OK, reject
milter_macro_daemon_name = ORIGINATING
milter_connect_macros =
milter_helo_macros =
milter_mail_macros =
milter_rcpt_macros =
milter_data_macros =
milter_end_of_header_macros =
milter_end_of_data_macros =
`)
	})
	f.check(f.dns.Add("_dmarc.example.org TXT v=DMARC1; p=reject\nexample.org TXT v=spf1 -all"))
	lines := f.syslog()
	mail := mta.Mail{From: "box@example.org", To: []string{"friend@example.net"},
		Content: []byte("From: box@example.org\nSubject: hello\n\nx\n")}
	mail.XClient = stranger
	if _, err := mta.TrySubmit(f.smtp, mail); err == nil || !strings.Contains(err.Error(), "550 5.7.1 ") {
		t.Errorf("a forgery: %v", err)
	}
	mail.XClient += " LOGIN=box"
	id := mta.Submit(t, f.smtp, mail)
	f.remote.Wait(1)
	if log := strings.Join(f.logged(lines), "\n"); !strings.Contains(log, id+": milter: ") {
		t.Errorf("no line of the milter's for %s:\n%s", id, log)
	}
}
