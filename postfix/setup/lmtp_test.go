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
