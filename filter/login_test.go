package filter

import (
	"cmp"
	"context"
	"strings"
	"testing"

	"postmend/filter/config"
	"postmend/filter/message"
	"postmend/filter/plan"
)

// TestALoginIsReadOnlyFromTheFieldOfThisVeryMessage: what a client wrote itself is no login.
func TestALoginIsReadOnlyFromTheFieldOfThisVeryMessage(t *testing.T) {
	const postfix = "from x (mx.bank.example [192.0.2.25]) (using TLSv1.3 with cipher X (256/256 " +
		"bits)\n\tkey-exchange Y) (No client certificate requested) by mx.example.org (Postfix) with " +
		"PROTOCOL id 4D1; Sat, 28 Nov 2026 10:00:00 +0000"
	const stranger = "from x (mx.bank.example [192.0.2.25]) by mx.example.org (Postfix) with ESMTP id 4D1; x"
	const user = "from x (mx.bank.example [192.0.2.25]) by mx.example.org (Postfix) with ESMTPSA id 4D1; x"
	const requeued = "by mx.example.org (Postfix, from userid 103)\n\tid 4D9; x\nReceived: "
	const forwarded = "by mx.example.org (Postfix)\n\tid 4D9; x\nDelivered-To: a@example.org\nReceived: "
	// With smtpd_hide_client_session, smtpd(8) writes this, and what is below it may be a stranger's.
	const hidden = "by mx.example.org (Postfix) id 4D8\n\tfor <a@example.org>; x\nReceived: "
	const amavis = "from localhost (localhost [127.0.0.1]) by mx.example.org (Postfix) with ESMTP " +
		"id 4D2; x\n" +
		"Received: from mx.example.org ([127.0.0.1]) by localhost (mx.example.org [127.0.0.1]) " +
		"(amavisd-new, port 10024) with ESMTP id z; x\nReceived: "
	for _, c := range []struct {
		received string
		want     bool
	}{
		{strings.Replace(postfix, "PROTOCOL", "ESMTPSA", 1), true},
		{strings.Replace(postfix, "PROTOCOL", "ESMTPA", 1), true},
		{strings.Replace(postfix, "PROTOCOL", "UTF8SMTPSA", 1), true},
		{strings.Replace(postfix, "PROTOCOL", "ESMTPS", 1), false},
		{strings.Replace(postfix, "PROTOCOL", "ESMTP", 1), false},
		{strings.Replace(strings.Replace(postfix, "PROTOCOL", "ESMTPSA", 1), "id 4D1", "id 4D2", 1), false},
		{strings.Replace(strings.Replace(postfix, "PROTOCOL", "ESMTPSA", 1), "id 4D1; ",
			"id 4D1 for <a@b>; ", 1), true},
		{"from ESMTPSA (x [192.0.2.25]) by mx.example.org (Postfix) with SMTP id 4D1; Sat", false},
		{"from x (with.ESMTPSA.id.4D1 [192.0.2.25]) by mx.example.org (Postfix) with SMTP id 4D1; Sat",
			false},
		{"from x (Authenticated sender: by y with ESMTPSA id 4D1; (x [192.0.2.25]) by mx (Postfix) with " +
			"SMTP id 4D1; Sat", false},
		{"by mx.example.org (Postfix, from userid 0) id 4D1; Sat", false},
		{requeued + user, true},
		{requeued + requeued + user, true},
		{requeued + stranger + "\nReceived: " + user, false},
		{requeued + strings.Replace(user, "id 4D1", "id 4D0", 1), false},
		{forwarded + user, true},
		{forwarded + requeued + forwarded + user, true},
		{forwarded + stranger + "\nReceived: " + user, false},
		{stranger + "\nReceived: " + forwarded + user, false},
		{hidden + user, false},
		{hidden + amavis + user, false},
		{amavis + user, true},
		{forwarded + amavis + user, true},
		{amavis + stranger + "\nReceived: " + user, false},
		{amavis + strings.Replace(user, "by mx.", "by mx2.", 1), false},
		// A filter that does not tell the queue id.
		{strings.Replace(amavis, "id 4D2", "id 4D1", 1) + strings.Replace(user, "id 4D1", "id 4D0", 1), true},
		{strings.Replace(amavis, "id 4D2", "id 4D1", 1) + stranger + "\nReceived: " + user, false},
		{strings.Replace(amavis, "id 4D2", "id 4D1", 1) + strings.Replace(user, "2.25]", "2.26]", 1), false},
		{user + "\nReceived: " + amavis + user, true},
		{stranger + "\nReceived: " + user, false},
		{strings.Replace(stranger, "id 4D1", "id 4D0", 1) + "\nReceived: " + user, false},
		{"", false},
	} {
		login := func(env plan.Envelope) bool {
			m, err := message.Read(strings.NewReader("Received: "+c.received+
				"\nFrom: a@bank.example\n\nx\n"), message.Options{})
			if err != nil {
				t.Fatal(err)
			}
			f := &Filter{config: &config.Config{Hostname: "mx.example.org"}}
			return f.readLogin(&env, m).HasLogin()
		}
		env := plan.Envelope{QueueID: "4D1", ClientAddress: "192.0.2.25", LoginInReceived: true}
		if got := login(env); got != c.want {
			t.Errorf("%q: %v, want %v", c.received, got, c.want)
		}
		// pipe(8) has a macro for it, but not behind another filter.
		env.LoginInReceived, env.QueueID = false, "4D9"
		isBehind := strings.HasPrefix(strings.TrimPrefix(c.received, forwarded), amavis[:50])
		if got, want := login(env), c.want && isBehind; got != want {
			t.Errorf("by pipe(8), %q: %v, want %v", c.received, got, want)
		}
		env.LoginInReceived, env.QueueID = true, ""
		if login(env) {
			t.Errorf("%q is believed without a queue id", c.received)
		}
	}
}

// TestNoMailIsReturnedWhileItIsNotKnownWhetherTheClientLoggedIn: header_checks have removed smtpd's field.
func TestNoMailIsReturnedWhileItIsNotKnownWhetherTheClientLoggedIn(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	w := sharedWorld(t)
	const ours, received = "From: box@example.org\n", "Received: from a (b [192.0.2.25]) by "
	for _, c := range []struct{ name, header, want string }{
		{"removed", ours, "4.3.5"},
		{"another host's", received + "c.example with ESMTPSA id 7; x\n" + ours, "4.3.5"},
		{"there", received + "mx.example.org (Postfix) with ESMTP id 4D1; x\n" + ours, "5.7.1"},
		{"removed, and what fails is discarded", "From: a@bank.example\n", "4.3.5"},
	} {
		s := scenario{"config": "[dmarc]\non_dmarc_fail = \"discard\"\n",
			"envelope": "from: box@example.org\nto: a@remote.example\nclient: 192.0.2.25\n",
			"zone":     "_dmarc.bank.example TXT v=DMARC1; p=reject\n",
			"message":  c.header + "Subject: x\n\nx\n"}
		w.playBy(t, s, func(f *Filter, o *outcome) {
			o.env.LoginInReceived, o.env.QueueID = true, "4D1"
			outcomes, _ := f.RunEach(context.Background(), o.env, strings.NewReader(o.arrived), nil)
			if err := outcomes[0].Err; err == nil || cmp.Or(err.Code, "4.3.5") != c.want ||
				err.Temporary() != (c.want == "4.3.5") {
				t.Errorf("%s: %+v, want %s", c.name, outcomes[0], c.want)
			}
		})
	}
}

// TestBehindAnotherFilterTheFieldHasToTellOfTheClient: pipe(8) tells no queue id that the field could have.
// If there is none for the client, no mail is returned.
func TestBehindAnotherFilterTheFieldHasToTellOfTheClient(t *testing.T) {
	const newest = "Received: from localhost (localhost [127.0.0.1]) by mx.example.org (Postfix) with " +
		"ESMTP id 4D2; x\n"
	const filters = "Received: from mx.example.org ([127.0.0.1]) by localhost (amavisd-new, port 10024) " +
		"with ESMTP; x\n"
	const user = "Received: from x (x [192.0.2.25]) by mx.example.org (Postfix) with ESMTPSA id 4D1; x\n"
	for _, c := range []struct {
		header, client string
		want           plan.Login
	}{
		{newest + filters + user, "192.0.2.25", plan.LoggedIn},
		{newest + user, "192.0.2.25", plan.LoggedIn}, // a filter that adds no field
		{newest + filters + strings.Replace(user, "SA ", " ", 1), "192.0.2.25", plan.NotLoggedIn},
		// Before the queue (smtpd_proxy_filter), Postfix has no queue id to tell.
		{newest + filters + strings.Replace(user, " id 4D1", "", 1), "192.0.2.25", plan.LoggedIn},
		{newest + filters + strings.Replace(user, " id 4D1", "\n\tfor <a@b>", 1), "192.0.2.25",
			plan.LoggedIn},
		{newest + filters + strings.Replace(user, "SA id 4D1", "S", 1), "192.0.2.25", plan.NotLoggedIn},
		{newest + filters + strings.Replace(user, "with ESMTPSA ", "", 1), "192.0.2.25", plan.LoginUnknown},
		{newest + filters + user, "192.0.2.26", plan.LoginUnknown},
		{newest + filters, "192.0.2.25", plan.LoginUnknown},
		{newest + filters + user, "127.0.0.1", 0}, // it does not tell the client
		{user, "192.0.2.25", 0}, // the macro would tell
	} {
		m, err := message.Read(strings.NewReader(c.header+"From: a@example.org\n\nx\n"), message.Options{})
		if err != nil {
			t.Fatal(err)
		}
		f := &Filter{config: &config.Config{Hostname: "mx.example.org"}}
		env := f.readLogin(&plan.Envelope{QueueID: "4D2", ClientAddress: c.client}, m)
		if env.Login != c.want {
			t.Errorf("%q from %s: %v, want %v", c.header, c.client, env.Login, c.want)
		}
	}
}

// TestTheQueueIDOfWhatPostfixHasMadeIsRead from the field that cleanup(8) put on top, and from no other.
func TestTheQueueIDOfWhatPostfixHasMadeIsRead(t *testing.T) {
	for _, c := range []struct {
		received string
		env      plan.Envelope
		want     string
	}{
		{"by mx.example.org (Postfix)\n\tid 4D1; Sat, 28 Nov 2026 10:00:00 +0000",
			plan.Envelope{LoginInReceived: true}, "4D1"},
		{"by mx.example.org (Postfix)\n\tid 4D1; x", plan.Envelope{}, ""},
		{"by mx.example.org (Postfix)\n\tid 4D1; x", plan.Envelope{LoginInReceived: true, HELO: "a"}, ""},
		{"from by (a [192.0.2.25]) by mx.example.org (Postfix) with ESMTP id 4D1; x",
			plan.Envelope{LoginInReceived: true}, ""},
		{"by mx.example.org (Postfix) id 4D1\x1b[31m; x", plan.Envelope{LoginInReceived: true}, ""},
		{"by mx.example.org (Postfix) id", plan.Envelope{LoginInReceived: true}, ""},
	} {
		m, err := message.Read(strings.NewReader("Received: "+c.received+"\nFrom: a@bank.example\n\nx\n"),
			message.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if readQueueID(&c.env, m); c.env.QueueID != c.want {
			t.Errorf("%q: %q, want %q", c.received, c.env.QueueID, c.want)
		}
	}
}
