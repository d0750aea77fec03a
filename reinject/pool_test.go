package reinject

import (
	"strings"
	"testing"
	"time"
)

// verbs are the first words of what a server heard.
func verbs(d *dialogue) string {
	var list []string
	for _, line := range d.commands {
		verb, _, _ := strings.Cut(line, " ")
		list = append(list, verb)
	}
	return strings.Join(list, " ")
}

func TestAKeptConnectionCarriesTheNextMessage(t *testing.T) {
	s := (&scripted{offers: postfixOffers}).start(t)
	target := s.target(t, Options{KeepIdle: guard})
	for n := range 3 {
		results, err := target.Send(guarded(t), Client{Ident: "4F1"}, nil, simple())
		if err != nil || len(results) != 1 || results[0].QueueID != "4F1Zz0" || len(results[0].Warnings) > 0 {
			t.Fatalf("message %d: %+v, %v", n, results, err)
		}
	}
	target.Close()
	const each = " XFORWARD XFORWARD MAIL RCPT DATA"
	if got, want := verbs(s.heard(t, 1)[0]), "EHLO"+each+each+each+" QUIT"; got != want {
		t.Errorf("the server heard %s, want %s", got, want)
	}
}

func TestAKeptConnectionThatTheServerEndsCostsNoMessage(t *testing.T) {
	for name, answer := range map[string]string{"it is gone": "drop", "it says so": "421 4.4.2 timeout"} {
		t.Run(name, func(t *testing.T) {
			mails := 0
			s := (&scripted{offers: postfixOffers, answer: func(session int, verb string) string {
				if session == 0 && verb == "MAIL" {
					if mails++; mails == 2 {
						return answer
					}
				}
				return ""
			}}).start(t)
			target := s.target(t, Options{KeepIdle: guard})
			for n := range 2 {
				if _, err := target.Send(guarded(t), stranger, nil, simple()); err != nil {
					t.Fatalf("message %d: %v", n, err)
				}
			}
			target.Close()
			heard := s.heard(t, 2)
			if d := heard[1]; d.content != "Subject: hello\r\n\r\nhello\r\n" || !d.dot {
				t.Errorf("the second connection took %q", d.content)
			}
		})
	}
}

// TestAConnectionIsKeptOnlyAfterAMessageThatWasTaken: after a refusal nobody knows what the server expects.
func TestAConnectionIsKeptOnlyAfterAMessageThatWasTaken(t *testing.T) {
	for _, verb := range []string{"MAIL", "RCPT", "DATA", "."} {
		s := (&scripted{offers: postfixOffers, answer: replies{verb: "451 4.3.0 later"}.to}).start(t)
		target := s.target(t, Options{KeepIdle: guard})
		for range 2 {
			if _, err := target.Send(guarded(t), stranger, nil, simple()); err == nil {
				t.Fatalf("%s: taken", verb)
			}
		}
		s.heard(t, 2)
		target.Close()
	}
}

func TestAConnectionIsNotKeptForLongerThanAsked(t *testing.T) {
	s := (&scripted{offers: postfixOffers}).start(t)
	target := s.target(t, Options{KeepIdle: time.Millisecond})
	if _, err := target.Send(guarded(t), stranger, nil, simple()); err != nil {
		t.Fatal(err)
	}
	s.heard(t, 1) // it ends by itself
}

func TestSeveralMessagesKeepSeveralConnections(t *testing.T) {
	s := (&scripted{offers: postfixOffers}).start(t)
	target := s.target(t, Options{KeepIdle: guard})
	for range 2 {
		if _, err := target.Send(guarded(t), stranger, nil, append(simple(), simple()...)); err != nil {
			t.Fatal(err)
		}
	}
	target.Close()
	for _, d := range s.heard(t, 2) {
		if n := strings.Count(verbs(d), "DATA"); n != 2 {
			t.Errorf("session %d carried %d messages", d.session, n)
		}
	}
}
