package reinject

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// message is content that is asked for once.
func message(s string) io.WriterTo { return bytes.NewBufferString(s) }

const hello = "Subject: hello\n\nhello\n"

// postfixOffers is what Debian's Postfix 3.7 says to an authorized XFORWARD host.
var postfixOffers = []string{"PIPELINING", "SIZE 10240000", "VRFY", "ETRN", "ENHANCEDSTATUSCODES", "8BITMIME",
	"DSN", "SMTPUTF8", "CHUNKING", "XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT"}

var stranger = Client{Name: "client.example.com", Address: "192.0.2.1", Port: "40001", Protocol: "ESMTP",
	HELO: "helo.example.com", Ident: "4F1Zz01"}

func simple() []Transaction {
	return []Transaction{{Sender: "alice@example.com", Recipients: []Recipient{{Address: "bob@example.net"}},
		Content: message(hello)}}
}

func assertCommands(t *testing.T, d *dialogue, want ...string) {
	t.Helper()
	if !slices.Equal(d.commands, want) {
		t.Errorf("the server heard\n\t%s\nwant\n\t%s", strings.Join(d.commands, "\n\t"),
			strings.Join(want, "\n\t"))
	}
}

func TestAMessageForPostfixGoesOutWithAllItCanTake(t *testing.T) {
	// holdsBack proves the pipelining: no reply before DATA was heard.
	s := (&scripted{offers: postfixOffers, holdsBack: map[string]int{"DATA": 1}}).start(t)
	results, err := s.target(t, Options{}).Send(guarded(t), stranger, nil, []Transaction{{
		Sender:     "alice@example.com",
		Recipients: []Recipient{{Address: "bob@example.net", Original: "alias+x=y@example.org"}},
		EnvelopeID: "a+b=c d",
		Content:    message("Subject: x\n\n.\n..\r\n.y\nlast"),
		EightBit:   true,
		UTF8:       true,
		Size:       26,
	}})
	if want := []Result{{QueueID: "4F1Zz0"}}; err != nil || !reflect.DeepEqual(results, want) {
		t.Fatalf("got %+v, %v, want %+v", results, err, want)
	}
	d := s.heard(t, 1)[0]
	assertCommands(t, d,
		"EHLO mx.example.org",
		"XFORWARD NAME=client.example.com ADDR=192.0.2.1 PORT=40001",
		"XFORWARD PROTO=ESMTP HELO=helo.example.com IDENT=4F1Zz01 SOURCE=REMOTE",
		"MAIL FROM:<alice@example.com> SIZE=26 BODY=8BITMIME SMTPUTF8 ENVID=a+2Bb+3Dc+20d",
		"RCPT TO:<bob@example.net> ORCPT=rfc822;alias+2Bx+3Dy@example.org",
		"DATA",
		"QUIT")
	if want := "Subject: x\r\n\r\n..\r\n...\r\n..y\r\nlast\r\n"; d.content != want || !d.dot {
		t.Errorf("content %q, dot %v, want %q", d.content, d.dot, want)
	}
}

func TestAServerWithoutExtensionsIsSpokenToOneCommandAtATime(t *testing.T) {
	s := (&scripted{}).start(t)
	txs := simple()
	txs[0].EightBit, txs[0].Size, txs[0].EnvelopeID, txs[0].Recipients[0].Original = true, 23, "id",
		"alias@example.org"
	txs[0].Recipients = append(txs[0].Recipients, Recipient{Address: "carol@example.net"})
	results, err := s.target(t, Options{}).Send(guarded(t), stranger, nil, txs)
	if err != nil || len(results[0].Warnings) != 1 || !strings.Contains(results[0].Warnings[0], "8BITMIME") {
		t.Fatalf("got %+v, %v, want a warning about 8BITMIME", results, err)
	}
	d := s.heard(t, 1)[0]
	assertCommands(t, d, "EHLO mx.example.org", "MAIL FROM:<alice@example.com>", "RCPT TO:<bob@example.net>",
		"RCPT TO:<carol@example.net>", "DATA", "QUIT")
	if d.pipelined {
		t.Error("commands were pipelined, which the server had not offered (RFC 2920 section 3.1)")
	}
}

func TestAUnixSocketIsAServerLikeAnyOther(t *testing.T) {
	s := (&scripted{network: "unix", offers: postfixOffers}).start(t)
	if _, err := s.target(t, Options{}).Send(guarded(t), stranger, nil, simple()); err != nil {
		t.Fatal(err)
	}
	if d := s.heard(t, 1)[0]; d.content != "Subject: hello\r\n\r\nhello\r\n" || !d.dot {
		t.Errorf("content %q, dot %v", d.content, d.dot)
	}
}

func TestDATAWaitsForTheRepliesToSeveralRecipients(t *testing.T) {
	for _, refused := range []int{0, 1, 2} {
		t.Run(fmt.Sprint(refused), func(t *testing.T) {
			rcpts := 0
			s := (&scripted{offers: postfixOffers, answer: func(_ int, verb string) string {
				if verb != "RCPT" {
					return ""
				}
				rcpts++
				if rcpts-1 == refused {
					return "550 5.1.1 no such user"
				}
				return ""
			}}).start(t)
			txs := simple()
			for _, name := range []string{"carol", "dave"} {
				txs[0].Recipients = append(txs[0].Recipients, Recipient{Address: name + "@example.net"})
			}
			_, err := s.target(t, Options{}).Send(guarded(t), Client{}, nil, txs)
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Stage != "RCPT" || e.Code != 550 || e.Address != txs[0].Recipients[refused].Address ||
				!e.Temporary() {
				t.Errorf("got %v, want a temporary error at RCPT of %s", err,
					txs[0].Recipients[refused].Address)
			}
			if d := s.heard(t, 1)[0]; slices.Contains(d.commands, "DATA") || d.content != "" {
				t.Errorf("heard %q and content %q, want no DATA", d.commands, d.content)
			}
		})
	}
}

func TestALoneRecipientRefusedMeansNoContentEvenAfter354(t *testing.T) {
	// DATA is answered with 354 all the same.
	s := (&scripted{offers: postfixOffers, answer: replies{"RCPT": "451 4.2.1 later"}.to}).start(t)
	if _, err := s.target(t, Options{}).Send(guarded(t), Client{}, nil, simple()); err == nil {
		t.Error("no error")
	}
	if d := s.heard(t, 1)[0]; d.content != "" || d.dot {
		t.Errorf("content %q, dot %v were sent for a refused recipient", d.content, d.dot)
	}
}

func twoTransactions() []Transaction {
	return append(simple(), Transaction{Recipients: []Recipient{{Address: "carol@example.net"}},
		Content: message("second\n")})
}

func TestFinalDotsWaitUntilAllTransactionsWereAcceptedAndTheCallerAgrees(t *testing.T) {
	for _, stage := range []string{"greeting", "EHLO", "MAIL", "RCPT", "DATA"} {
		t.Run("second refused at "+stage, func(t *testing.T) {
			s := (&scripted{offers: postfixOffers, answer: func(session int, verb string) string {
				if session == 1 && verb == stage {
					return "451 4.3.0 not now"
				}
				return ""
			}}).start(t)
			asked := false
			results, err := s.target(t, Options{}).Send(guarded(t), Client{},
				func() (context.Context, error) { asked = true; return t.Context(), nil }, twoTransactions())
			if err == nil || results != nil || asked {
				t.Errorf("got %+v, %v, asked %v; want an error before the question", results, err, asked)
			}
			for i, d := range s.heard(t, 2) {
				if d.dot {
					t.Errorf("transaction %d got its final dot", i)
				}
			}
		})
	}
	t.Run("caller disagrees", func(t *testing.T) {
		s := (&scripted{offers: postfixOffers}).start(t)
		no := errors.New("no")
		_, err := s.target(t, Options{}).Send(guarded(t), Client{}, func() (context.Context, error) {
			return nil, no
		}, twoTransactions())
		if err != no {
			t.Errorf("got %v, want the caller's own error", err)
		}
		for i, d := range s.heard(t, 2) {
			if d.dot || d.content == "" {
				t.Errorf("transaction %d: dot %v, content %q; want all but the dot", i, d.dot, d.content)
			}
		}
	})
	t.Run("content of the second cannot be read", func(t *testing.T) {
		s := (&scripted{offers: postfixOffers}).start(t)
		txs := twoTransactions()
		broken := errors.New("disk trouble")
		txs[1].Content = brokenContent{broken}
		_, err := s.target(t, Options{}).Send(guarded(t), Client{}, nil, txs)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Stage != "content" || !errors.Is(err, broken) || !e.Temporary() {
			t.Errorf("got %v, want the content's own error, temporary", err)
		}
		for i, d := range s.heard(t, 2) {
			if d.dot {
				t.Errorf("transaction %d got its final dot", i)
			}
		}
	})
}

type brokenContent struct{ err error }

func (b brokenContent) WriteTo(w io.Writer) (int64, error) {
	n, _ := io.WriteString(w, "Subject: half\n\nhal")
	return int64(n), b.err
}

func TestAServerThatGivesUpWhileOthersArePreparedStopsAllDots(t *testing.T) {
	for _, tc := range []struct{ after354, wantText string }{
		{"421 4.3.2 shutting down", "shutting down"},
		// taken for the reply to the dot, it would report a message that may yet be lost
		{"250 2.0.0 Ok: queued as EARLY", ""},
	} {
		t.Run(tc.after354, func(t *testing.T) {
			s := (&scripted{offers: postfixOffers, answer: func(session int, verb string) string {
				if session == 0 && verb == "DATA" {
					return "354 go on\r\n" + tc.after354
				}
				return ""
			}}).start(t)
			_, err := s.target(t, Options{}).Send(guarded(t), Client{}, nil, twoTransactions())
			e, ok := errors.AsType[*Error](err)
			if !ok || !e.Temporary() || !strings.Contains(e.Text, tc.wantText) {
				t.Errorf("got %v, want a temporary error saying %q", err, tc.wantText)
			}
			for i, d := range s.heard(t, 2) {
				if d.dot {
					t.Errorf("transaction %d got its final dot", i)
				}
			}
		})
	}
}

func TestAConnectionLostBeforeTheDotIsNoticed(t *testing.T) {
	server := (&scripted{offers: postfixOffers}).start(t)
	s, err := server.target(t, Options{}).carrier.(*smtpTarget).open(guarded(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.quit()
	if err := s.stillListening(); err != nil {
		t.Fatalf("a quiet server counts as gone: %v", err)
	}
	s.ask(stageContent, "QUIT") // the scripted server answers by hanging up
	if err := s.stillListening(); err == nil {
		t.Error("a server that hung up counts as listening")
	}
}

func TestAfterTheDotsEachTransactionHasItsOwnResultAndATemporaryErrorCounts(t *testing.T) {
	for _, tc := range []struct {
		name, first, second string
		wantIDs             []string
		temporary           bool
	}{
		{"first refused for its content", "554 5.7.1 no", "", []string{"", "4F1Zz1"}, false},
		{"second refused for now", "", "451 4.3.0 later", []string{"4F1Zz0", ""}, true},
		{"second lost", "", "drop", []string{"4F1Zz0", ""}, true},
		{"refused for good and for now", "554 5.7.1 no", "421 4.3.2 bye", []string{"", ""}, true},
		{"refused for now and for good", "451 4.3.0 later", "554 5.7.1 no", []string{"", ""}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := (&scripted{offers: postfixOffers, answer: func(session int, verb string) string {
				if verb != "." {
					return ""
				}
				return []string{tc.first, tc.second}[session]
			}}).start(t)
			results, err := s.target(t, Options{}).Send(guarded(t), Client{}, nil, twoTransactions())
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Stage != "end of data" || e.Temporary() != tc.temporary {
				t.Errorf("got %v, want an error at the end of data, temporary %v", err, tc.temporary)
			}
			if len(results) != 2 || results[0].QueueID != tc.wantIDs[0] ||
				results[1].QueueID != tc.wantIDs[1] {
				t.Errorf("got %+v, want queue ids %q", results, tc.wantIDs)
			}
			for i, d := range s.heard(t, 2) {
				if !d.dot {
					t.Errorf("transaction %d got no final dot", i)
				}
			}
		})
	}
}

func TestARefusedXFORWARDIsAWarningAndTheMessageGoesOn(t *testing.T) {
	s := (&scripted{offers: postfixOffers,
		answer: replies{"XFORWARD": "501 5.5.4 Bad NAME syntax"}.to}).start(t)
	results, err := s.target(t, Options{}).Send(guarded(t), stranger, nil, simple())
	if err != nil || len(results) != 1 || results[0].QueueID == "" || len(results[0].Warnings) != 2 ||
		!strings.Contains(results[0].Warnings[0], "501 5.5.4 Bad NAME syntax") {
		t.Errorf("got %+v, %v, want a hand-over with a warning for each line", results, err)
	}
}

func TestSMTPUTF8IsAskedForWhereAnAddressNeedsItAndMissedWhereItIsNotOffered(t *testing.T) {
	txs := func() []Transaction {
		tx := simple()
		tx[0].Recipients[0] = Recipient{Address: "jörg@example.net", Original: `jö+\@example.org`}
		return tx
	}
	s := (&scripted{offers: postfixOffers}).start(t)
	if _, err := s.target(t, Options{}).Send(guarded(t), Client{}, nil, txs()); err != nil {
		t.Fatal(err)
	}
	commands := strings.Join(s.heard(t, 1)[0].commands, "\n")
	// RFC 6533 section 3: utf-8-addr-xtext.
	for _, want := range []string{"MAIL FROM:<alice@example.com> SMTPUTF8\n",
		`RCPT TO:<jörg@example.net> ORCPT=utf-8;j\x{F6}\x{2B}\x{5C}@example.org` + "\n"} {
		if !strings.Contains(commands, want) {
			t.Errorf("heard\n%s\nwant %q", commands, want)
		}
	}
	tx, err := check(txs()[0])
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = tx.envelope(map[string]string{"PIPELINING": ""}, false)
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Stage != "MAIL" || !e.Temporary() || !strings.Contains(err.Error(), "SMTPUTF8") {
		t.Errorf("got %v, want a temporary error that names SMTPUTF8", err)
	}
}

// smtp(8) of a Postfix with smtputf8_enable = no does the same.
func TestA8BitAddressGoesToTheListenerAsItIsWhereSMTPUTF8IsNotOfferedOrOfNoUse(t *testing.T) {
	for name, tc := range map[string]struct {
		address string
		offers  []string
	}{
		"UTF-8, not offered":   {"jörg@example.net", []string{"PIPELINING", "8BITMIME"}},
		"Latin-1, not offered": {"j\xf6rg@example.net", []string{"PIPELINING", "8BITMIME"}},
		"Latin-1, offered":     {"j\xf6rg@example.net", []string{"PIPELINING", "SMTPUTF8"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := (&scripted{offers: tc.offers}).start(t)
			txs := []Transaction{{Sender: tc.address, Recipients: []Recipient{{Address: tc.address}},
				Content: message(hello)}}
			results, err := s.target(t, Options{}).Send(guarded(t), Client{}, nil, txs)
			if err != nil || len(results[0].Warnings) != 1 {
				t.Errorf("got %+v, %v, want a hand-over with a warning", results, err)
			}
			assertCommands(t, s.heard(t, 1)[0], "EHLO mx.example.org", "MAIL FROM:<"+tc.address+">",
				"RCPT TO:<"+tc.address+">", "DATA", "QUIT")
		})
	}
	tx, err := check(Transaction{Sender: "j\xf6rg@example.net",
		Recipients: []Recipient{{Address: "bob@example.net"}}, Content: message(hello)})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := tx.envelope(map[string]string{"SMTPUTF8": ""}, false); err == nil {
		t.Error("Latin-1 was sent to a server elsewhere")
	}
}

func TestManyRecipientsDoNotFillBothWindows(t *testing.T) {
	s := (&scripted{offers: postfixOffers}).start(t)
	txs := simple()
	for i := range 5000 {
		txs[0].Recipients = append(txs[0].Recipients, Recipient{Address: fmt.Sprintf("r%d@example.net", i)})
	}
	if _, err := s.target(t, Options{}).Send(guarded(t), Client{}, nil, txs); err != nil {
		t.Fatal(err)
	}
	rcpts := 0
	for _, command := range s.heard(t, 1)[0].commands {
		if strings.HasPrefix(command, "RCPT ") {
			rcpts++
		}
	}
	if rcpts != 5001 {
		t.Errorf("%d recipients were heard, want 5001", rcpts)
	}
}
