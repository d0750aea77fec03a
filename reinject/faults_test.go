package reinject

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"postmend/tests/peer"
)

// stages are the verbs of the scripted server with the stage that an Error names them by.
var stages = [][2]string{{"greeting", "greeting"}, {"EHLO", "EHLO"}, {"MAIL", "MAIL"}, {"RCPT", "RCPT"},
	{"DATA", "DATA"}, {".", "end of data"}}

func TestEveryFaultAtEveryStageIsATemporaryErrorOfThatStage(t *testing.T) {
	for _, offers := range [][]string{postfixOffers, nil} {
		for _, stage := range stages {
			for _, fault := range []string{"451 4.7.1 not now", "550 5.7.0 not welcome", "421 bye",
				"250-a\r\n251 b", "199 what", "drop", "garbage", "endless line", "endless reply"} {
				t.Run(fmt.Sprintf("pipelining %v/%s/%.20s", offers != nil, stage[1],
					fault), func(t *testing.T) {
					s := (&scripted{offers: offers, answer: replies{stage[0]: fault}.to}).start(t)
					results, err := s.target(t, Options{}).Send(guarded(t), stranger, nil, simple())
					e, ok := errors.AsType[*Error](err)
					if !ok || e.Stage != stage[1] || !e.Temporary() {
						t.Fatalf("got %v, want a temporary error of %s", err, stage[1])
					}
					if len(results) > 0 && results[0].QueueID != "" {
						t.Errorf("got a queue id: %+v", results)
					}
					if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) ||
						len(err.Error()) > 500 {
						t.Errorf("the error is not one short line of printable ASCII: %q", err)
					}
					if d := s.heard(t, 1)[0]; d.dot != (stage[0] == ".") {
						t.Errorf("final dot sent: %v", d.dot)
					}
				})
			}
		}
	}
}

func TestASilentServerIsLeftWhenTheContextEnds(t *testing.T) {
	for _, stage := range stages {
		t.Run(stage[1], func(t *testing.T) {
			// Without PIPELINING, the reply that is missing is the only one outstanding.
			s := (&scripted{answer: replies{stage[0]: "stall"}.to}).start(t)
			ctx, cancel := context.WithCancelCause(guarded(t))
			enough := errors.New("enough waited")
			go func() {
				<-s.stalled
				cancel(enough)
			}()
			_, err := s.target(t, Options{}).Send(ctx, stranger, nil, simple())
			e, ok := errors.AsType[*Error](err)
			// the server may accept before we know that we are connected
			early := ok && stage[0] == "greeting" && e.Stage == "connect"
			if !ok || e.Stage != stage[1] && !early || !errors.Is(err, enough) || !e.Temporary() {
				t.Errorf("got %v, want the context's cause at %s", err, stage[1])
			}
		})
	}
	t.Run("deadline", func(t *testing.T) {
		s := (&scripted{answer: replies{"MAIL": "stall"}.to}).start(t)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := s.target(t, Options{}).Send(ctx, stranger, nil, simple())
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
	})
}

// RFC 5321 section 4.5.3.2.6: whoever gives up between the final dot and its reply sends the message twice.
func TestTheReplyToTheDotIsAwaitedUnderTheContextOfCommit(t *testing.T) {
	first, cancel := context.WithCancel(guarded(t))
	s := (&scripted{offers: postfixOffers, answer: func(_ int, verb string) string {
		if verb == "." {
			cancel()
		}
		return ""
	}}).start(t)
	commit := func() (context.Context, error) { return guarded(t), nil }
	if results, err := s.target(t, Options{}).Send(first, stranger, commit, twoTransactions()); err != nil ||
		results[1].QueueID == "" {
		t.Errorf("got %+v, %v, want the hand-over to outlive its first context", results, err)
	}

	s = (&scripted{offers: postfixOffers, answer: replies{".": "stall"}.to}).start(t)
	later, giveUp := context.WithCancelCause(guarded(t))
	enough := errors.New("enough waited")
	go func() {
		<-s.stalled
		giveUp(enough)
	}()
	commit = func() (context.Context, error) { return later, nil }
	_, err := s.target(t, Options{}).Send(guarded(t), stranger, commit, simple())
	if e, ok := errors.AsType[*Error](err); !ok || e.Stage != "end of data" || !errors.Is(err, enough) {
		t.Errorf("got %v, want the cause of the second context at the end of data", err)
	}
}

func TestAContextThatEndsDuringCommitKeepsTheDotBack(t *testing.T) {
	s := (&scripted{offers: postfixOffers}).start(t)
	first, cancel := context.WithCancel(guarded(t))
	commit := func() (context.Context, error) { cancel(); return guarded(t), nil }
	_, err := s.target(t, Options{}).Send(first, stranger, commit, simple())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if d := s.heard(t, 1)[0]; d.dot {
		t.Error("the final dot was sent")
	}
}

// endless is content without end. It calls began, if there is one, when it is asked for.
type endless struct{ began func() }

func (e endless) WriteTo(w io.Writer) (n int64, err error) {
	if e.began != nil {
		e.began()
	}
	line := []byte(strings.Repeat("x", 70) + "\n")
	for err == nil {
		_, err = w.Write(line)
		n += int64(len(line))
	}
	return n, err
}

// rude answers a whole pipelined envelope with 354 and then calls after with the connection.
func rude(t *testing.T, after func(net.Conn)) *Reinjector {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "220 hello\r\n")
		for in := newWire(conn); ; fmt.Fprint(conn, "250 ok\r\n") {
			if line, err := in.ReadString('\n'); err != nil || line == "DATA\r\n" {
				break
			}
		}
		after(conn)
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	target, err := New(Options{Target: "smtp://" + listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func TestAServerThatGoesAwayDuringTheContentIsATemporaryError(t *testing.T) {
	for name, last := range map[string]string{"silently": "354 go on\r\n",
		"with 421": "354 go on\r\n421 4.3.2 shutting down\r\n"} {
		t.Run(name, func(t *testing.T) {
			target := rude(t, func(conn net.Conn) { fmt.Fprint(conn, last) })
			txs := simple()
			txs[0].Content = endless{}
			_, err := target.Send(guarded(t), Client{}, nil, txs)
			if e, ok := errors.AsType[*Error](err); !ok || e.Stage != "content" || !e.Temporary() {
				t.Errorf("got %v, want a temporary error of the content", err)
			}
		})
	}
}

func TestAServerThatStopsReadingIsLeftWhenTheContextEnds(t *testing.T) {
	left := make(chan struct{})
	target := rude(t, func(conn net.Conn) {
		fmt.Fprint(conn, "354 go on\r\n")
		<-left
	})
	ctx, cancel := context.WithCancelCause(guarded(t))
	enough := errors.New("enough waited")
	txs := simple()
	// By then the buffers of the connection are full; if not, the error is the same.
	txs[0].Content = endless{func() { time.AfterFunc(50*time.Millisecond, func() { cancel(enough) }) }}
	_, err := target.Send(ctx, Client{}, nil, txs)
	close(left)
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Stage != "content" || !errors.Is(err, enough) {
		t.Errorf("got %v, want the context's cause in the content", err)
	}
}

func TestNobodyListeningIsATemporaryErrorThatNamesTheAddress(t *testing.T) {
	address := net.JoinHostPort("127.0.0.1", peer.FreePort(t))
	for name, where := range map[string]string{"smtp://" + address: address,
		"unix:" + t.TempDir() + "/none": "/none"} {
		target, err := New(Options{Target: name})
		if err != nil {
			t.Fatal(err)
		}
		_, err = target.Send(guarded(t), Client{}, nil, simple())
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Stage != "connect" || !e.Temporary() || !strings.Contains(err.Error(), where) {
			t.Errorf("got %v, want a temporary error that names %s", err, where)
		}
	}
}

func TestOnlyWhatIsAboutThisMessageIsPermanent(t *testing.T) {
	for _, tc := range []struct {
		stage, answer string
		temporary     bool
	}{
		{"MAIL", "552 5.3.4 Message size exceeds fixed limit", false},
		{".", "552 5.3.4 Error: message file too big", false},
		{".", "554 5.4.0 Error: too many hops", false},
		{".", "554 5.4.0 Error: something else", true},
		{".", "550 5.6.0 improper use of 8-bit data", false},
		{".", "554 5.6.0 message format error", false},
		{"RCPT", "553 5.6.7 needs SMTPUTF8", false},
		{".", "550 5.7.1 message content rejected", false},
		{".", "550-5.7.1 message\r\n550 5.7.1 content rejected", false},
		{".", "554 5.7.1 message content rejected", false},
		{"RCPT", "554 5.7.1 <client>: Relay access denied", true},
		{"MAIL", "550 5.7.1 not you", true},
		{".", "550 no enhanced code", true},
		{".", "550 5.7.10 encryption needed", true},
		// RFC 2034 section 4: a class that contradicts the reply is no enhanced code
		{".", "552 4.3.4 too large", true},
		{".", "452 4.3.1 Insufficient system storage", true},
		{".", "550 5.1.1 no such user", true},
		{"EHLO", "554 5.6.0 nonsense", true},
		{"greeting", "552 5.3.4 nonsense", true},
	} {
		t.Run(tc.stage+" "+tc.answer, func(t *testing.T) {
			s := (&scripted{offers: postfixOffers, answer: replies{tc.stage: tc.answer}.to}).start(t)
			_, err := s.target(t, Options{}).Send(guarded(t), Client{}, nil, simple())
			wrapped := fmt.Errorf("handing over: %w", err)
			var e interface{ Temporary() bool }
			if !errors.As(wrapped, &e) || e.Temporary() != tc.temporary {
				t.Errorf("%v: want temporary %v", wrapped, tc.temporary)
			}
		})
	}
}

func TestARefusalOfOneRecipientAmongSeveralIsNeverPermanent(t *testing.T) {
	one, other := Recipient{Address: "bob@example.net"}, Recipient{Address: "carol@example.net"}
	for _, answer := range []string{"553 5.6.7 needs SMTPUTF8", "552 5.3.4 too large for this mailbox"} {
		for name, txs := range map[string][]Transaction{
			"in a transaction": {{Recipients: []Recipient{one, other}, Content: message(hello)}},
			"in another transaction": {{Recipients: []Recipient{one}, Content: message(hello)},
				{Recipients: []Recipient{other}, Content: message(hello)}},
			"with nobody else about it": {{Recipients: []Recipient{other}, Content: message(hello)}},
		} {
			t.Run(name+"/"+answer, func(t *testing.T) {
				s := (&scripted{offers: postfixOffers, answerLine: func(line string) string {
					if line == "RCPT TO:<"+other.Address+">" {
						return answer
					}
					return ""
				}}).start(t)
				_, err := s.target(t, Options{}).Send(guarded(t), Client{}, nil, txs)
				e, ok := errors.AsType[*Error](err)
				if !ok || e.Stage != "RCPT" || e.Temporary() != (name != "with nobody else about it") {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// RFC 5321 section 4.3.2 has one reply to the final dot that is success.
func TestOnly250ToTheFinalDotIsSuccess(t *testing.T) {
	for _, answer := range []string{"221 2.0.0 bye", "220 hello", "235 2.7.0 welcome", "251 2.1.5 elsewhere",
		"252 2.5.0 perhaps"} {
		t.Run(answer, func(t *testing.T) {
			s := (&scripted{offers: postfixOffers, answer: replies{".": answer}.to}).start(t)
			_, err := s.target(t, Options{}).Send(guarded(t), Client{}, nil, simple())
			if e, ok := errors.AsType[*Error](err); !ok || e.Stage != "end of data" || !e.Temporary() {
				t.Errorf("got %v, want a temporary error at the end of data", err)
			}
		})
	}
}

func TestAnErrorCarriesCodesWordsAndWhereItHappened(t *testing.T) {
	s := (&scripted{offers: postfixOffers, answer: replies{"RCPT": "550-5.1.1 <bob@example.net>:\x1b[2J " +
		"no\r\n550 5.1.1 such user " + strings.Repeat("y", 1000)}.to}).start(t)
	_, err := s.target(t, Options{}).Send(guarded(t), Client{}, nil, simple())
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != 550 || e.Enhanced != "5.1.1" || e.Address != "bob@example.net" ||
		e.Target != "smtp://"+s.address ||
		!strings.HasPrefix(e.Text, "<bob@example.net>:?[2J no such user yyy") || len(e.Text) > 200 {
		t.Errorf("got %#v", err)
	}
}

func TestAddressesThatCouldSayMoreThanThemselvesAreNotSent(t *testing.T) {
	hostile := []string{"a\r\nRCPT TO:<x@y>@example.net", "a@example.net\nDATA", "a\x00b@example.net",
		"a\x7f@example.net", "a\u0085b@example.net",
		"a\u2028b@example.net", strings.Repeat("a", 990) + "@example.net", "a@", "@example.net", "a@b c",
		"a@b>c", "a@<b", "a@b\"c", "a@[1.2.3.4", "a@[1.2.3.4]>", "a@[]", "a@b(c)"}
	for _, address := range hostile {
		t.Run(fmt.Sprintf("%.30q", address), func(t *testing.T) {
			s := (&scripted{offers: postfixOffers}).start(t)
			for _, tc := range []struct {
				tx        Transaction
				temporary bool // the other recipient is not to suffer for good
			}{
				{Transaction{Sender: address, Recipients: []Recipient{{Address: "bob@example.net"}}}, false},
				{Transaction{Recipients: []Recipient{{Address: address}}}, false},
				{Transaction{Recipients: []Recipient{{Address: "bob@example.net"}, {Address: address}}},
					true},
			} {
				tc.tx.Content = message(hello)
				_, err := s.target(t, Options{}).Send(guarded(t), Client{}, nil, []Transaction{tc.tx})
				e, ok := errors.AsType[*Error](err)
				if !ok || !e.Unsendable || e.Temporary() != tc.temporary ||
					strings.ContainsAny(err.Error(), "\r\n\x00") {
					t.Errorf("got %v, want an error on one line, temporary %v", err, tc.temporary)
				}
			}
			if len(s.ended) > 0 {
				t.Error("a connection was made")
			}
		})
	}
	for _, tx := range []Transaction{
		{Content: message("")},
		{Recipients: []Recipient{{Address: "a@b"}}},
		{Recipients: []Recipient{{}}, Content: message("")},
	} {
		target, _ := New(Options{})
		if _, err := target.Send(guarded(t), Client{}, nil, []Transaction{tx}); err == nil {
			t.Errorf("%+v: no error", tx)
		}
	}
}

func TestHostileParametersAreLeftOut(t *testing.T) {
	s := (&scripted{offers: postfixOffers}).start(t)
	txs := simple()
	txs[0].EnvelopeID = "id\r\nRSET"
	txs[0].Recipients[0].Original = "a\nb@example.org"
	long := twoTransactions()[1]
	long.EnvelopeID, long.Recipients[0].Original = strings.Repeat("i", 101), strings.Repeat("o", 600)
	if _, err := s.target(t, Options{}).Send(guarded(t), Client{}, nil, append(txs, long)); err != nil {
		t.Fatal(err)
	}
	for _, d := range s.heard(t, 2) {
		if slices.ContainsFunc(d.commands, func(c string) bool {
			return strings.Contains(c, "ENVID") ||
				strings.Contains(c, "ORCPT")
		}) {
			t.Errorf("heard %q", d.commands)
		}
	}
}

func TestTheZeroOptionsMeanTheUsualListener(t *testing.T) {
	target, err := New(Options{})
	if err != nil || target.name != "smtp://127.0.0.1:10026" {
		t.Errorf("got %+v, %v", target, err)
	}
	if name, _ := os.Hostname(); name != "" && target.carrier.(*smtpTarget).helo != name {
		t.Errorf("EHLO name %q, want the system's %q", target.carrier.(*smtpTarget).helo, name)
	}
}

func TestTheListenerHearsAnotherNameThanServersElsewhere(t *testing.T) {
	for name, want := range map[string]string{
		"smtp://127.0.0.1:10026": "postmend.mx.example.org", "smtp://[::1]:10026": "postmend.mx.example.org",
		"smtp://localhost:10026": "postmend.mx.example.org",
		"unix:/run/listener":     "postmend.mx.example.org", "smtp://192.0.2.1:25": "mx.example.org",
		"smtps://mail.example.net:465": "mx.example.org",
	} {
		target, err := New(Options{Target: name, HELOName: "mx.example.org",
			ListenerHELOName: "postmend.mx.example.org"})
		if err != nil {
			t.Fatal(err)
		}
		if got := target.carrier.(*smtpTarget).helo; got != want {
			t.Errorf("%s hears %q, want %q", name, got, want)
		}
	}
}
