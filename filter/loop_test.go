package filter

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"strings"
	"testing"

	"postmend/filter/plan"
	"postmend/tests/peer"
)

const (
	handedOver = "Received: from postmend.mx.example.org (localhost [127.0.0.1])\n\tby mx.example.org " +
		"(Postfix) with ESMTP id 4bXk2w0b\n\tfor <x@y>; Wed, 25 Nov 2026 01:17:55 +0000\n"
	arrived = "Received: from mail.bank.example (unknown [192.0.2.25])\n\tby mx.example.org (Postfix) " +
		"with ESMTP id 4bXk2w0a; Wed, 25 Nov 2026 01:17:54 +0000\n"
	fromAlice = "From: alice@bank.example\n\nbody\n"
)

// pickedUp is the field that Postfix 3.7 puts on top of what the sendmail command brought, and of what
// postsuper requeued.
func pickedUp(uid string) string {
	return "Received: by mx.example.org (Postfix, from userid " + uid +
		")\n\tid 4bXk2w1z; Wed, 25 Nov 2026 01:17:57 +0000 (UTC)\n"
}

func runWith(t *testing.T, target, message string) ([]left, error) {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0") // for a key of the scenarios
	e, listener := startExit(t)
	w := newWorld(t)
	if target == "" {
		target = listener
	}
	s := scenario{"message": message}
	settings := w.config(t, s, w.dns(t, s).Addr(), target)
	f, err := New(settings, Options{})
	if err != nil {
		t.Fatal(err)
	}
	env := &plan.Envelope{Sender: "SRS0=abcd=AA=bank.example=alice@srs.example.org",
		Recipients: []plan.Recipient{{Address: "bob@remote.example"}}, ClientAddress: "192.0.2.25",
		QueueID: "4bXk2w1z"}
	_, err = f.Run(context.Background(), env, strings.NewReader(message))
	return e.sent, err
}

func TestWhatWasRequeuedOutOfTheLoopIsNotMendedTwice(t *testing.T) {
	owner, err := user.Lookup("postfix")
	if err != nil {
		peer.Missing(t, "there is no user postfix")
	}
	for name, c := range map[string]struct {
		message   string
		untouched bool
	}{
		"requeued after our hand-over": {pickedUp(owner.Uid) + handedOver + arrived +
			fromAlice, true},
		"requeued before it":                   {pickedUp(owner.Uid) + arrived + fromAlice, false},
		"redirected by a user's mail delivery": {pickedUp("54321") + handedOver + arrived + fromAlice, false},
	} {
		sent, err := runWith(t, "", c.message)
		if err != nil || len(sent) != 1 || (sent[0].text == c.message) != c.untouched {
			t.Errorf("%s: %v, %d messages left: %q", name, err, len(sent), sent)
		}
	}
}

func TestAPickupThatFiltersAgainIsNoticed(t *testing.T) {
	own, other := fmt.Sprint(os.Geteuid()), fmt.Sprint(os.Geteuid()+1)
	for name, c := range map[string]struct {
		message string
		loops   bool
	}{
		"what we brought":             {pickedUp(own) + arrived + fromAlice, true},
		"what another user forwards":  {pickedUp(other) + arrived + fromAlice, false},
		"what our own user wrote":     {pickedUp(own) + fromAlice, false},
		"what came from the listener": {handedOver + arrived + fromAlice, false},
	} {
		_, err := runWith(t, "sendmail:/bin/true", c.message)
		got := err != nil && strings.Contains(err.Error(), "pickup lacks -o content_filter=")
		if got != c.loops {
			t.Errorf("%s: %v", name, err)
		}
	}
}
