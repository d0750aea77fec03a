package check

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"postmend/tests/peer"
)

// Two findings for what setup does and leaves alone: the table for senders goes, the one for recipients
// answers for the addresses it made.
func TestPostSRSdsTableForRecipientsStays(t *testing.T) {
	h := hostOf(t, mainLines+"sender_canonical_maps = tcp:127.0.0.1:10001\nrecipient_canonical_maps = "+
		"tcp:127.0.0.1:10003, socketmap:unix:srs:reverse\n", masterLines, postmend{})
	faults := judgePostSRSd(h)
	if len(faults) != 2 || !strings.Contains(faults[0].Mend, "-X sender_canonical_maps") ||
		faults[1].Mend != "" || faults[1].Severity != Note || !strings.Contains(faults[1].Why, "need it") {
		t.Errorf("%+v", faults)
	}
}

// As setup does, check never puts postmend in another filter's place.
func TestAnotherFilterIsNotReplaced(t *testing.T) {
	const amavis = "smtp-amavis unix - - n - 2 smtp -o smtp_send_xforward_command=yes\n" +
		"127.0.0.1:10025 inet n - n - - smtpd -o content_filter= -o " +
		"smtpd_authorized_xforward_hosts=127.0.0.0/8\n"
	main := strings.Replace(mainLines, "postmend:dummy", "smtp-amavis:[127.0.0.1]:10024", 1)
	for name, row := range map[string]struct {
		master, mend, says string
	}{
		"it tells where mail comes from": {"smtp inet n - n - - smtpd\n" + amavis,
			"setup --apply --mode transport", "after it"},
		"it does not": {"smtp inet n - n - - smtpd\nsmtp-amavis unix - - n - 2 smtp\n", "",
			"smtp_send_xforward_command"},
	} {
		h := hostOf(t, main, row.master, postmend{})
		h.dns = ready
		faults := judgeRoute(h)
		if len(faults) != 1 || !strings.Contains(faults[0].Mend, row.mend) ||
			(row.mend == "") != (faults[0].Mend == "") || !strings.Contains(faults[0].What, row.says) {
			t.Errorf("%s: %+v", name, faults)
		}
	}
	h := hostOf(t, mainLines,
		masterLines+"2525 inet n - n - - smtpd -o content_filter=smtp-amavis:[127.0.0.1]:10024\n"+amavis,
		postmend{})
	for _, wrong := range judgeUnfiltered(h) {
		if strings.Contains(wrong.What, "2525/inet") &&
			(wrong.Mend != "" || !strings.Contains(wrong.What, "but smtp-amavis")) {
			t.Errorf("%+v", wrong)
		}
	}
}

// A FILTER action takes the place of content_filter for the messages that it applies to.
func TestAnActionThatLeadsPastPostmendIsTold(t *testing.T) {
	checks := filepath.Join(t.TempDir(), "checks")
	if err := os.WriteFile(checks, []byte("/^Subject: a b/ FILTER amavis:[127.0.0.1]:10024\n"+
		"/^X-Ours:/ FILTER postmend:dummy\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h := hostOf(t, mainLines+"header_checks = pcre:"+checks+", regexp:{{/^X-A: b c/ FILTER other:}}\n"+
		"smtpd_sender_restrictions = check_sender_access inline:{{a.example = FILTER smtp:}}\n", masterLines,
		postmend{})
	faults := judgeActions(h)
	var said []string
	for _, wrong := range faults {
		said = append(said, wrong.What)
	}
	all := strings.Join(said, "\n")
	for _, want := range []string{"pcre:" + checks + " (header_checks) has FILTER amavis:[127.0.0.1]:10024",
		"(header_checks) has FILTER other:", "(smtpd_sender_restrictions) has FILTER smtp: for a.example"} {
		if !strings.Contains(all, want) {
			t.Errorf("not told: %s\n%s", want, all)
		}
	}
	if len(faults) != 3 {
		t.Errorf("%s", all)
	}
}

// What changes header addresses of mail that a program submits voids its seal of arrival, by the operator's
// classes; our own table does not.
func TestMapsThatVoidSealsAreTold(t *testing.T) {
	for _, row := range []struct{ main, want string }{
		{"canonical_maps = inline:{a=b@example.org}\n", "canonical_maps"},
		{"sender_canonical_maps = inline:{a=b@example.org}\n", "sender_canonical_maps"},
		{"sender_canonical_maps = inline:{a=b@example.org}\nsender_canonical_classes = " +
			"envelope_sender\n", ""},
		{"canonical_maps = inline:{a=b@example.org}\ncanonical_classes = envelope_sender, " +
			"envelope_recipient\n", ""},
		{"recipient_canonical_maps = tcp:localhost:10002\n", ""},
		{"recipient_canonical_maps = tcp:localhost:10002, " +
			"inline:{a=b@example.org}\n", "recipient_canonical_maps"},
		{"masquerade_domains = example.org\n", "masquerade_domains"},
		{"masquerade_domains = example.org\nmasquerade_classes = envelope_sender\n", ""},
		{"header_address_token_limit = 100\n", "header_address_token_limit"},
		{"", ""},
	} {
		h := hostOf(t, mainLines+row.main, masterLines, postmend{Seals: true, HasSecrets: true})
		faults := judgeSealRewriting(h)
		if (len(faults) == 1) != (row.want != "") || row.want != "" &&
			!strings.HasPrefix(faults[0].What, row.want+" ") {
			t.Errorf("%q: %+v", row.main, faults)
		}
		h.Seals = false
		if faults := judgeSealRewriting(h); faults != nil {
			t.Errorf("%q, without seals: %+v", row.main, faults)
		}
	}
}

// One milter is one finding, wherever it stands.
func TestADKIMMilterIsToldOnce(t *testing.T) {
	h := hostOf(t, mainLines+"smtpd_milters = inet:127.0.0.1:8891, unix:rspamd.sock\n"+
		"non_smtpd_milters = $smtpd_milters\n", masterLines+"587 inet n - n - - smtpd\n465 inet n - n - "+
		"- smtpd "+
		"-o smtpd_milters=inet:127.0.0.1:8891\npickup unix n - n 60 1 pickup\n", postmend{})
	faults := judgeMilters(h)
	if len(faults) != 1 || !strings.Contains(faults[0].What,
		"inet:127.0.0.1:8891 in smtpd_milters, smtpd_milters of 465/inet, non_smtpd_milters:") {
		t.Errorf("%+v", faults)
	}
}

// The filter rewrites a sender that is not local, and Postfix looks for the new one in these tables.
func TestSendersThatATableNoLongerFindsAreTold(t *testing.T) {
	main := mainLines + "sender_dependent_default_transport_maps = inline:{@own.example=a:, " +
		"@customer.example=b:, joe@other.example=c:}\n"
	ours := postmend{SRSDomain: "srs.example.org",
		IsLocal: func(name string) bool { return name == "own.example" }}
	faults := judgeSenderMaps(hostOf(t, main, masterLines, ours))
	if len(faults) != 1 || !strings.Contains(faults[0].What, "customer.example, other.example") ||
		strings.Contains(faults[0].What, "own.example") {
		t.Errorf("%+v", faults)
	}
	ours.SRSDomain = ""
	if faults := judgeSenderMaps(hostOf(t, main, masterLines, ours)); faults != nil {
		t.Errorf("without SRS: %+v", faults)
	}
}

func TestALocalDomainHasAClassOfPostfixs(t *testing.T) {
	h := hostOf(t,
		mainLines+"parent_domain_matches_subdomains = relay_domains\nrelay_domains = example.com\n",
		masterLines, postmend{SRSDomain: "srs.example.org",
			Local: []string{"example.org", "localhost", "srs.example.org",
				"sub.example.com", "example.net"}})
	faults := judgeLocalClass(h)
	if len(faults) != 1 || !strings.HasPrefix(faults[0].What, "example.net ") {
		t.Errorf("%+v", faults)
	}
}

func TestFindingsHaveOneOrder(t *testing.T) {
	peer.Long(t)
	master := strings.Replace(masterLines, "null_sender=", "null_sender= alpha=1 beta=2 gamma=3 delta=4", 1)
	var first []Finding
	for range 5 {
		findings := apply("filter service", filterRules, hostOf(t, mainLines, master, postmend{}))
		for i := range findings {
			findings[i].Mend = "" // names the folder
		}
		if first == nil {
			first = findings
		}
		if !reflect.DeepEqual(findings, first) {
			t.Fatalf("%+v, and before: %+v", findings, first)
		}
	}
}
