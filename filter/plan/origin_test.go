package plan

import (
	"strings"
	"testing"

	"postmend/filter/message"
)

func TestTheMailboxThatRedirectsIsReadWhereSieveWritesIt(t *testing.T) {
	const own, arrived = "Received: by mx.example.org (Postfix, from userid 1) id 1; x\n",
		"Received: from mail.bank.example by mx.example.org; x\n"
	for _, row := range []struct{ name, header, want string }{
		{"as Pigeonhole writes it", own + "X-Sieve-Redirected-From: box@example.org\n" + arrived,
			"box@example.org"},
		{"by whoever sent it", own + arrived + "X-Sieve-Redirected-From: boss@example.org\n", ""},
		{"the topmost counts", own + "X-Sieve-Redirected-From: box@example.org\n" +
			"X-Sieve-Redirected-From: b@example.org\n",
			"box@example.org"},
		{"a domain that is not here", own + "X-Sieve-Redirected-From: box@elsewhere.example\n" + arrived, ""},
		{"a local domain without a key", own + "X-Sieve-Redirected-From: box@keyless.example\n" +
			arrived, ""},
		{"no address", own + "X-Sieve-Redirected-From: box\n" + arrived, ""},
	} {
		p := testPolicy(t)
		p.local["keyless.example"] = true
		m, err := message.Read(strings.NewReader(row.header+"From: a@b.example\n\nx\n"), message.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.RedirectedFrom(m); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}
