package check

import (
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
