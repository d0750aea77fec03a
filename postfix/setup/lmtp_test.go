package setup

import (
	"strings"
	"testing"

	"postmend/postfix/layout"
)

// pipe(8) ignores the next hop, but lmtp(8) connects to it: such mail would be deferred for days, and return.
func TestMailThatWouldBeLedToAnotherHostByLMTPStopsSetup(t *testing.T) {
	for _, row := range []struct{ main, service, want string }{
		{"", "", ""},
		{"relay_transport = postmend:unix:private/postmend-lmtp\n", "", ""},
		{"transport_maps = inline:{ example.com=smtp:postmend }\n", "", ""},
		{"relay_transport = postmend:\n", "", "relay_transport is postmend:"},
		{"transport_maps = inline:{ example.com=postmend: }\n", "", "has postmend: for example.com"},
		{"", "10587 inet n - n - - smtpd -o content_filter=postmend:dummy\n",
			"10587/inet in master.cf has content_filter=postmend:dummy"},
	} {
		h := newHost(t, row.main, row.service)
		h.wanted.LMTP = layout.SpawnedLMTP
		plan, err := h.plan()
		if err != nil {
			t.Fatal(err)
		}
		err = plan.otherNextHop(t.Context())
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s%s: %v, want %s", row.main, row.service, err, row.want)
		}
	}
}

// TestUsersMailThatWouldLoseItsLoginStopsSetup: by LMTP, only the Received: field tells of it.
func TestUsersMailThatWouldLoseItsLoginStopsSetup(t *testing.T) {
	const hides = "587 inet n - n - - smtpd -o smtpd_hide_client_session=yes\n"
	const amavis = "content_filter = smtp-amavis:[127.0.0.1]:10024\n"
	const back = "smtp-amavis unix - - n - 2 smtp -o smtp_send_xforward_command=yes\n127.0.0.1:10125 inet " +
		"n - n - - smtpd -o content_filter= -o smtpd_authorized_xforward_hosts=127.0.0.0/8\n"
	for _, row := range []struct {
		main, services, lmtp string
		stops                bool
	}{
		{"", hides, layout.SpawnedLMTP, true},
		{"", hides, "", false}, // pipe(8) has a macro for it
		{"", "587 inet n - n - - smtpd\n", layout.SpawnedLMTP, false},
		{amavis, back + hides, "", true},
		{amavis, back, "", false},
	} {
		h := newHost(t, row.main, row.services)
		h.wanted.LMTP, h.wanted.Mode = row.lmtp, Transport
		_, err := h.plan()
		mends := err != nil && strings.Contains(err.Error(), "587/inet/smtpd_hide_client_session")
		if (err != nil) != row.stops || mends != row.stops {
			t.Errorf("%s%s%s: %v", row.main, row.services, row.lmtp, err)
		}
	}
}
