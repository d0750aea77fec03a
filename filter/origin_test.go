package filter

import (
	"context"
	"strings"
	"testing"

	"postmend/filter/cause"
	"postmend/filter/plan"
)

const (
	byPickup = "Received: by mx.example.org (Postfix, from userid 33)\n" +
		"\tid 4bXk2w1z; Sat, 28 Nov 2026 12:00:00 +0000\n"
	byBounce = "Received: by mx.example.org (Postfix)\n" +
		"\tid 4bXk2w1z; Sat, 28 Nov 2026 12:00:00 +0000 (UTC)\n"
	byAmavis = "Received: from localhost (localhost [127.0.0.1])\n" +
		"\tby mx.example.org (Postfix) with ESMTP id 1; " +
		"Sat, 28 Nov 2026 12:00:01 +0000\n"
	byLMTP = "Received: from mx.example.org\n" +
		"\tby mx.example.org with LMTP id 2; Sat, 28 Nov 2026 12:00:00 +0000\n"
	byOthers = "Received: from mail.bank.example (unknown [192.0.2.25])\n" +
		"\tby mx.example.org (Postfix) with ESMTP id 3; " +
		"Sat, 28 Nov 2026 12:00:00 +0000\n"
	byUser = "Received: from [10.1.2.3] (unknown [192.0.2.25])\n\t(Authenticated sender: uwe)\n" +
		"\tby mx.example.org (Postfix) " +
		"with ESMTPSA id 4; Sat, 28 Nov 2026 12:00:00 +0000\n"
	byFetchmail = "Received: from pop.provider.example [192.0.2.55]\n" +
		"\tby localhost with POP3 (fetchmail-6.4.37)\n" +
		"\tfor <bob@localhost> (single-drop); Sat, 28 Nov 2026 12:00:00 +0000\n"
	byProvider = "Received: from mail.bank.example (unknown [192.0.2.25])\n" +
		"\tby mx.provider.example (Postfix) with ESMTP id 5; " +
		"Sat, 28 Nov 2026 12:00:00 +0000\n"
	byBrowser = "Received: from 192.0.2.25\n by www.example.org\n" +
		" with HTTP (HTTP/1.1 POST); Sat, 28 Nov 2026 12:00:00 +0000\n"
	byThem = "Received: by mail.bank.example (Postfix, from userid 33)\n" +
		"\tid 4; Sat, 28 Nov 2026 12:00:00 +0000\n"
)

// TestWhatCanHaveBeenWrittenHereIsSignedAsOurOwn: cron, web forms, vacation replies, lists. What cannot,
// without a seal of its arrival, proves nothing.
func TestWhatCanHaveBeenWrittenHereIsSignedAsOurOwn(t *testing.T) {
	loopback, user := plan.Envelope{ClientAddress: "127.0.0.1"}, plan.Envelope{ClientAddress: "192.0.2.25",
		SASLUsername: "u"}
	srs := "SRS0=abcd=AA=bank.example=alice@srs.example.org"
	for _, row := range []struct {
		name, sender, header string
		env                  plan.Envelope
		want                 bool
	}{
		{"a web form", "www-data@example.org", byPickup, plan.Envelope{}, true},
		{"cron, with this host's name", "root@mx.example.org", byPickup, plan.Envelope{}, true},
		{"cron, with a name for this host only", "root@localhost", byPickup, plan.Envelope{}, true},
		{"a subdomain of ours", "shop@news.example.org", byPickup, plan.Envelope{}, true},
		{"a list's post by SMTP", "list-bounces@example.org", byAmavis + byOthers, loopback, true},
		{"Postfix's own bounce, in transport mode", "", byBounce, plan.Envelope{}, true},
		{"a vacation reply", "", byPickup, plan.Envelope{}, true},
		{"a vacation reply by SMTP", "", byAmavis, loopback, true},
		{"a notice that another filter had", "", byAmavis + byPickup, plan.Envelope{}, true},
		{"a notice without any Received:", "", "", plan.Envelope{}, true},
		{"web mail without a login", "uwe@example.org", byAmavis + byBrowser, loopback, true},
		{"web mail's read receipt", "", byPickup + byBrowser, plan.Envelope{}, true},
		{"a user's read receipt, redirected", "", byPickup + byLMTP + byUser, plan.Envelope{}, true},
		{"a user's mail with a foreign sender, redirected", "uwe@bank.example", byPickup + byLMTP + byUser,
			plan.Envelope{}, true},
		{"a user's foreign sender", "uwe@bank.example", byOthers, user, true},

		{"a foreign sender", "alice@bank.example", byPickup, plan.Envelope{}, false},
		{"a foreign sender by SMTP from this host", "alice@bank.example", byAmavis,
			plan.Envelope{ClientAddress: "::1"}, false},
		{"an SRS address of ours, which is of foreign mail", srs, byPickup, plan.Envelope{}, false},
		{"what fetchmail brings", "boss@example.org", byAmavis + byFetchmail + byProvider, loopback, false},
		{"what fetchmail brings, invisible", "boss@example.org", byAmavis + byProvider, loopback, false},
		{"what fetchmail brought, redirected", "bob@example.org", byPickup + byLMTP + byAmavis +
			byFetchmail, plan.Envelope{}, false},
		{"what says that a user wrote it, and a host outside above", "", byPickup + byLMTP + byOthers +
			byUser, plan.Envelope{}, false},
		{"the null sender, and a host outside", "", byPickup + byLMTP + byOthers, plan.Envelope{}, false},
		{"the null sender, and a host outside below", "", byPickup + byThem, plan.Envelope{}, false},
		{"the null sender by SMTP, and a host outside", "", byAmavis + byLMTP + byOthers, loopback, false},
		{"the null sender, and a Received: that says nothing", "", byPickup + "Received: mumble\n",
			plan.Envelope{}, false},
	} {
		w := newFilterWorld(t)
		env := row.env
		env.Sender, env.QueueID = row.sender, "4bXk2w1z"
		env.Recipients = []plan.Recipient{{Address: "bob@remote.example"}}
		text := row.header + "From: Boss <boss@example.org>\nSubject: x\n\nbody\n"
		log, err := w.Run(context.Background(), &env, strings.NewReader(text))
		if row.want {
			if err != nil || len(log.signers) == 0 {
				t.Errorf("%s: signed %q, %v", row.name, log.signers, err)
			}
		} else if f := cause.AsFailure(err); err == nil || f.Kind != cause.Policy {
			t.Errorf("%s: signed %q, %v", row.name, log.signers, err)
		}
	}
}

// TestAHeaderThatIsTooLongHidesNoForgery: it gets no seal on arrival, and a sender of ours does not make up
// for it.
func TestAHeaderThatIsTooLongHidesNoForgery(t *testing.T) {
	f := newFilterWorld(t)
	text := byPickup + "X-Long: " + strings.Repeat("x", 1<<20) + "\nFrom: Boss <boss@example.org>\n\nbody\n"
	env := plan.Envelope{Sender: "bob@example.org",
		Recipients: []plan.Recipient{{Address: "bob@remote.example"}}}
	_, err := f.Run(context.Background(), &env, strings.NewReader(text))
	if failure := cause.AsFailure(err); err == nil || failure.Kind != cause.BadMessage {
		t.Errorf("sent on by a program here: %v", err)
	}
	env.SASLUsername = "bob"
	if _, err := f.Run(context.Background(), &env, strings.NewReader(text)); err != nil {
		t.Errorf("of a user: %v", err)
	}
}

// newFilterWorld is a filter of the scenarios' host.
func newFilterWorld(t *testing.T) *Filter {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0") // for a key of the scenarios
	_, listener := startExit(t)
	w := sharedWorld(t)
	f, err := New(w.config(t, scenario{}, w.dns(t, scenario{}).Addr(), listener), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var onlyWorld *world

func sharedWorld(t *testing.T) *world {
	if onlyWorld == nil {
		onlyWorld = newWorld(t)
	}
	return onlyWorld
}

// TestASealIsRenewedAsOftenAsAMessageIsSentOn: from mailbox to mailbox, twice, and then out.
func TestASealIsRenewedAsOftenAsAMessageIsSentOn(t *testing.T) {
	f := newFilterWorld(t)
	text := "From: Alice <alice@bank.example>\nSubject: x\n\nbody\n"
	env := &plan.Envelope{Sender: "alice@bank.example", ClientAddress: "192.0.2.25",
		HELO: "mail.bank.example"}
	for _, mailbox := range []string{"a@example.org", "b@example.org", "c@example.org"} {
		env.Recipients = []plan.Recipient{{Address: mailbox, Original: mailbox}}
		j, err := f.examine(context.Background(), env, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		decided := j.decideAtOnce(context.Background())
		leaving, err := j.content(decided.Deliveries[0], false, newLogLine(env))
		if err == nil {
			_, err = leaving.WriteTo(&out)
		}
		if err != nil {
			t.Fatal(err)
		}
		j.message.Close()
		text = "X-Sieve: Pigeonhole\n" + byLMTP + out.String()
		if strings.Count(text, "X-Postmend-Arrival:") != 1 {
			t.Fatalf("in %s:\n%s", mailbox, text)
		}
		env = &plan.Envelope{Sender: "alice@bank.example"}
	}
	env.Recipients = []plan.Recipient{{Address: "bob@remote.example"}}
	e, err := f.Explain(context.Background(), env, strings.NewReader(text))
	if err != nil || !e.Origin.Intact || e.Origin.Client != "192.0.2.25" ||
		e.Origin.Recipient != "c@example.org" {
		t.Errorf("got %+v, %v", e, err)
	}
}

// TestTheBodyIsNotReadAgainForItsSeal: what was spooled to a file is read once, to be handed over.
func TestTheBodyIsNotReadAgainForItsSeal(t *testing.T) {
	f := newFilterWorld(t)
	env := &plan.Envelope{Sender: "alice@bank.example", ClientAddress: "192.0.2.25",
		Recipients: []plan.Recipient{{Address: "a@example.org"}}}
	text := "From: Alice <alice@bank.example>\nSubject: x\n\n" + strings.Repeat(benchLine, 50_000)
	j, err := f.examine(context.Background(), env, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	delivery := j.decideAtOnce(context.Background()).Deliveries[0]
	j.message.Close() // the file is gone: a body that is read again is an error
	if _, err := j.content(delivery, false, newLogLine(env)); err != nil {
		t.Errorf("the seal of %d octets: %v", len(text), err)
	}
}
