package check

import (
	"strings"
	"testing"
	"time"

	"postmend/postfix/layout"
	"postmend/tests/peer"
)

func TestTheMilterIsJudged(t *testing.T) {
	peer.Long(t)
	ours := layout.MilterEntry(layout.MilterAddress)
	service := layout.Program{Path: "/usr/bin/postmend", User: "postmend"}.MilterLine()
	const open = "submission inet n - n - - smtpd -o "
	for _, row := range []struct{ name, main, want, master string }{
		{"none", "", "", ""},
		{"as setup writes it", "smtpd_milters = " + ours, "", ""},
		{"without its entry", "smtpd_milters = inet:127.0.0.1:8891", "milter-unused", service},
		{"beside another behind it", "smtpd_milters = " + ours + ", inet:127.0.0.1:8891", "", ""},
		{"behind another", "smtpd_milters = inet:127.0.0.1:8891, " + ours, "milter-order", ""},
		{"bare", "smtpd_milters = unix:private/postmend-milter", "milter-default", ""},
		{"bare, with the default for all", "smtpd_milters = inet:127.0.0.1:10028\n" +
			"milter_default_action = accept", "", ""},
		{"tempfail", "smtpd_milters = { inet:127.0.0.1:10028, default_action=tempfail }",
			"milter-default", ""},
		{"tempfail in transport mode", "default_transport = postmend:\n" +
			"smtpd_milters = { inet:127.0.0.1:10028, default_action=tempfail }", "", ""},
		{"too little time", "smtpd_milters = " + strings.Replace(ours, "90s", "30s", 1), "milter-time", ""},
		{"of programs here", "non_smtpd_milters = " + ours, "milter-unused milter-local", ""},
		{"on a port alone", "", "", open + "{ smtpd_milters = " + ours + " }\n" + service},
		{"not on a port", "smtpd_milters = " + ours, "milter-services",
			open + "smtpd_milters=inet:127.0.0.1:8891"},
		{"switched off on a port", "smtpd_milters = " + ours, "milter-services",
			open + "receive_override_options=no_milters"},
		{"not where another filter hands back", "smtpd_milters = " + ours, "",
			"127.0.0.1:10030 inet n - n - - smtpd -o receive_override_options=no_milters"},
		{"somebody else's", "smtpd_milters = inet:127.0.0.1:8891", "", ""},
	} {
		if strings.Contains(row.main, layout.MilterAddress) {
			row.master += "\n" + service
		}
		h := hostOf(t, mainLines+row.main+"\n", masterLines+row.master+"\n", postmend{Deadline: time.Minute})
		var names []string
		for _, f := range apply("Postfix", milterRules, h) {
			if f.Severity != OK {
				names = append(names, f.Name)
			}
		}
		if got := strings.Join(names, " "); got != row.want {
			t.Errorf("%s: found %q, want %q", row.name, got, row.want)
		}
	}
}
