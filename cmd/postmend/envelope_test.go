package main

import (
	"regexp"
	"testing"
)

// pipe(8) gives "unknown" for an address that Postfix does not know, beside the protocol, and nothing at
// all for a message that was brought to sendmail(1). If another filter hands such a message back by
// XFORWARD, all is unknown.
func TestAClientWithAnUnknownAddressIsAStranger(t *testing.T) {
	w := newWorld(t)
	for _, row := range []struct {
		args []string
		want string
	}{
		{nil, "none (local submission)"},
		{[]string{"--client-address=", "--client-name=", "--client-port=", "--client-protocol=", "--helo="},
			"none (local submission)"},
		{[]string{"--client-address=unknown", "--client-name=unknown", "--client-port=45288",
			"--client-protocol=ESMTP", "--helo=x"}, "unknown"},
		{[]string{"--client-address=unknown", "--client-name=unknown", "--client-port=unknown",
			"--client-protocol=unknown", "--helo=unknown"}, "none (local submission)"},
		{[]string{"--helo=client.example.net"}, "unknown"},
	} {
		exit, out, errs := w.run(aMessage,
			append(append([]string{"explain", "-f", "a@b.example"}, row.args...), "--", "x@example.org")...)
		if !regexp.MustCompile(`(?m)^client +` + regexp.QuoteMeta(row.want) + `$`).MatchString(out) {
			t.Errorf("%q: exit %d, %s\n%s", row.args, exit, errs, out)
		}
	}
}
