package check

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postmend/filter/config"
	"postmend/postfix/layout"
	"postmend/tests/peer"
)

// What an operator can get wrong when he writes the lines for `postmend serve` by hand.
func TestTheLMTPServiceIsJudged(t *testing.T) {
	peer.Long(t)
	address := "inet:" + net.JoinHostPort("127.0.0.1", peer.FreePort(t)) // where nothing answers
	patterns := filepath.Join(t.TempDir(), "patterns")
	if err := os.WriteFile(patterns, []byte("# a comment of postmend:x\n/@a\\.example$/ postmend:x\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	checks := filepath.Join(t.TempDir(), "checks")
	if err := os.WriteFile(checks, []byte("/^Subject: a b/ FILTER postmend:dummy\n/^X-Other:/ IGNORE\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	line := layout.LMTPLine(layout.LMTPStatusFilter())
	hop := "content_filter = " + layout.LMTPNextHop(address) + "\n"
	limit := "postmend_destination_recipient_limit = 50\n"
	spawned := "content_filter = " + layout.LMTPNextHop(layout.SpawnedLMTP) + "\n"
	program := layout.Program{Path: "/bin/postmend", User: "postmend"}
	elsewhere := program
	elsewhere.ConfigFile = "/etc/other.toml"
	for _, row := range []struct{ name, main, line, want string }{
		{"with a process of spawn(8)", spawned + limit, line + "\n" + program.SpawnedLMTPLine(), ""},
		{"which reads another configuration", spawned + limit, line + "\n" + elsewhere.SpawnedLMTPLine(),
			"lmtp-config"},
		{"as setup writes it", hop + limit, line, "lmtp-reach"},
		{"no XFORWARD", hop + limit, strings.Replace(line, "xforward_command=yes", "xforward_command=no", 1),
			"lmtp-reach lmtp-options"},
		{"no options", hop + limit, "postmend unix - - n - - lmtp",
			"lmtp-reach lmtp-options lmtp-options lmtp-options lmtp-status-filter"},
		{"the next hop of pipe(8)", "content_filter = postmend:dummy\n" + limit, line, "lmtp-reach"},
		{"one recipient a run", hop + strings.Replace(limit, "50", "1", 1), line,
			"lmtp-reach lmtp-recipient-limit"},
		{"what pipe(8) ignores: other next hops", hop + limit + "relay_transport = postmend:\n" +
			"virtual_transport = " + layout.LMTPNextHop(address) + "\ntransport_maps = inline:{ " +
			"example.com=postmend:, example.net=smtp:, b.example=postmend:dummy }, regexp:" + patterns + "\n",
			line + "\npickup unix n - n 60 1 pickup -o content_filter=postmend:dummy",
			"lmtp-reach lmtp-next-hop lmtp-next-hop lmtp-next-hop lmtp-next-hop lmtp-next-hop"},
		{"FILTER actions", hop + limit + "header_checks = " +
			"regexp:" + checks + "\nsmtpd_recipient_restrictions = " +
			"check_sender_access inline:{ {a.example = FILTER postmend:dummy}, b.example=OK, " +
			"{c.example = FILTER other:x} }, check_client_access inline:{ {d.example = filter " +
			layout.LMTPNextHop(address) + "} }\n", line +
			"\nother unix - - n - - lmtp\n587 inet n - n - - smtpd\n  -o smtpd_client_restrictions=" +
			"check_client_access,regexp:" + checks + "\n  -o smtpd_sender_restrictions=check_sender_access," +
			"regexp:" + patterns, "lmtp-reach lmtp-next-hop lmtp-next-hop"},
		{"few processes", hop + limit, strings.Replace(line, " 100 ", " 3 ", 1), "lmtp-reach lmtp-processes"},
	} {
		h := hostOf(t, "mydestination = example.org\n"+row.main, "smtp inet n - n - - smtpd\n"+row.line+"\n",
			postmend{ConfigFile: config.DefaultFile})
		var names []string
		for _, f := range apply(areaFilter, lmtpRules, h) {
			if f.Severity != OK {
				names = append(names, f.Name)
			}
		}
		if got := strings.Join(names, " "); !h.byLMTP() || got != row.want {
			t.Errorf("%s: found %q, want %q", row.name, got, row.want)
		}
	}
}
