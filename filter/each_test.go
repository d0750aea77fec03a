package filter

import (
	"context"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postmend/filter/plan"
)

// traces are the fields that tell one recipient's way: several recipients of one message do not get them.
var traces = regexp.MustCompile(`(?m)^X-Forwarded-(To|For): .*\n`)

// got is what a recipient gets: the outcome, and the messages that left for it.
func (o *outcome) got(address, word string) string {
	text := word + "\n"
	for _, l := range o.sent {
		if slices.Contains(l.recipients, address) {
			text += "<" + l.sender + ">\n" +
				traces.ReplaceAllString(strings.ReplaceAll(l.text, "\r\n", "\n"), "")
		}
	}
	return text
}

// TestEachRecipientGetsWhatItWouldGetAlone: by LMTP, no recipient's outcome depends on the others, and the
// message is the same as if pipe(8) had run us for that recipient alone.
func TestEachRecipientGetsWhatItWouldGetAlone(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	files, _ := filepath.Glob("testdata/scenarios/*.txt")
	w := newWorld(t)
	several := 0
	for n, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) {
			s := w.read(t, file)
			if strings.Count(s["envelope"], "to:") < 2 && n%10 != 0 {
				t.Skip("one recipient: one scenario of ten is enough")
			}
			var outcomes []Outcome
			together := w.playBy(t, s, func(f *Filter, o *outcome) {
				outcomes, _ = f.RunEach(context.Background(), o.env, strings.NewReader(o.arrived), nil)
			})
			if len(outcomes) > 1 {
				several++
			}
			for i, r := range together.env.Recipients {
				alone := w.playBy(t, s, func(f *Filter, o *outcome) {
					env := *o.env
					env.Recipients = env.Recipients[i : i+1]
					o.log, o.err = f.Run(context.Background(), &env, strings.NewReader(o.arrived))
				})
				// What left for this one only: an address that was reversed stands in the plan.
				address := r.Address
				if d := alone.log.plan.Deliveries; len(d) == 1 {
					address = d[0].Recipients[0].Address
				}
				mine := &outcome{sent: together.sent}
				if outcomes[i].Err != nil {
					mine.err = outcomes[i].Err
				}
				word := mine.word()
				if outcomes[i].Summary == Discarded {
					word = "discarded"
				}
				got, want := together.got(address, word), alone.got(address, alone.word())
				if strings.Count(want, "\n") > 0 && got != want {
					t.Errorf("%s: together it got\n%.2000q\nalone\n%.2000q", r.Address, got, want)
				}
			}
		})
	}
	if several < 5 {
		t.Errorf("only %d scenarios have several recipients", several)
	}
}

// TestOneRefusedRecipientDoesNotHoldUpTheOthers: the next hop takes the message for all that it accepts,
// once.
func TestOneRefusedRecipientDoesNotHoldUpTheOthers(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // for a key of the scenarios
	exit, target := startExit(t)
	exit.refuse = "nobody@remote.example"
	w := sharedWorld(t)
	s := scenario{}
	f, err := New(w.config(t, s, w.dns(t, s).Addr(), target), Options{})
	if err != nil {
		t.Fatal(err)
	}
	env := &plan.Envelope{Sender: "alice@example.org", SASLUsername: "alice"}
	for _, address := range []string{"a@remote.example", "nobody@remote.example", "b@other.example"} {
		env.Recipients = append(env.Recipients, plan.Recipient{Address: address})
	}
	outcomes, logs := f.RunEach(context.Background(), env,
		strings.NewReader("From: alice@example.org\n\nbody\n"), nil)
	for i, o := range outcomes {
		if refused := o.Err != nil; refused != (i == 1) || refused && !o.Err.Temporary() {
			t.Errorf("%s: %+v", env.Recipients[i].Address, o)
		}
	}
	if len(logs) != 2 {
		t.Errorf("%d log lines: %v", len(logs), logs)
	}
	exit.mu.Lock()
	defer exit.mu.Unlock()
	if len(exit.sent) != 1 ||
		!slices.Equal(exit.sent[0].recipients, []string{"a@remote.example", "b@other.example"}) {
		t.Errorf("sent %+v", exit.sent)
	}
}

// TestWhatAClientClaimsToBeTheAliasStandsInNoField: ORCPT goes on to the next hop, but a rewritten From: that
// named it would let a stranger choose among our addresses.
func TestWhatAClientClaimsToBeTheAliasStandsInNoField(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // for a key of the scenarios
	exit, target := startExit(t)
	w := sharedWorld(t)
	s := scenario{"zone": "bank.example TXT v=spf1 ip4:192.0.2.25 -all\n" +
		"_dmarc.bank.example TXT v=DMARC1; p=reject\n"}
	f, err := New(w.config(t, s, w.dns(t, s).Addr(), target), Options{})
	if err != nil {
		t.Fatal(err)
	}
	const text = "From: Alice <alice@bank.example>\nSubject: x\n\nbody\n"
	for claimed, want := range map[bool]string{
		true: "<postmaster@example.org>", false: "<boss@example.org>",
	} {
		to := plan.Recipient{Address: "bob@remote.example", Original: "boss@example.org"}
		if claimed {
			to.Original, to.Claimed = "", to.Original
		}
		env := &plan.Envelope{Sender: "alice@bank.example", ClientAddress: "192.0.2.25",
			HELO: "mail.bank.example", Recipients: []plan.Recipient{to}}
		outcomes, _ := f.RunEach(context.Background(), env, strings.NewReader(text), nil)
		if outcomes[0].Err != nil {
			t.Fatal(outcomes[0].Err)
		}
		exit.mu.Lock()
		left := exit.sent[len(exit.sent)-1]
		exit.mu.Unlock()
		if from := strings.Join(fieldsOf(left.text, "From"), ""); !strings.Contains(from, want) ||
			claimed && strings.Contains(left.text, "boss@") {
			t.Errorf("claimed %v: %s, want %s:\n%s", claimed, from, want, left.text)
		}
	}
}
