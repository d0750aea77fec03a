package lmtp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"postmend/tests/listen"
)

// taken is what the handler was given.
type taken struct {
	mu    sync.Mutex
	envs  []Envelope
	texts []string
	errs  []error
}

// start serves on loopback until the test ends. Recipients at "later" are deferred, those at "never" refused.
func start(t *testing.T, s *Server) (*taken, string) {
	t.Helper()
	got := &taken{}
	s.Hostname = "mx.example.org"
	if s.Handle == nil {
		s.Handle = func(_ context.Context, env *Envelope, content io.Reader) []Reply {
			text, err := io.ReadAll(content)
			got.mu.Lock()
			defer got.mu.Unlock()
			got.envs, got.texts, got.errs = append(got.envs, *env), append(got.texts, string(text)),
				append(got.errs, err)
			var replies []Reply
			for _, r := range env.Recipients {
				switch {
				case strings.HasSuffix(r.Address, "@later"):
					replies = append(replies, Reply{"4.4.3", "later"})
				case strings.HasSuffix(r.Address, "@never"):
					replies = append(replies, Reply{"5.7.1", "never"})
				default:
					replies = append(replies, Reply{"2.0.0", "queued as X"})
				}
			}
			return replies
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return got, listener.Addr().String()
}

// client is the other end.
type client struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	t.Cleanup(func() { conn.Close() })
	return &client{t, conn, bufio.NewReader(conn)}
}

// reply reads one reply, all its lines.
func (c *client) reply() string {
	text := ""
	for {
		line, err := c.in.ReadString('\n')
		text += line
		if err != nil {
			return text + "(" + err.Error() + ")"
		}
		if len(line) < 4 || line[3] == ' ' {
			return text
		}
	}
}

// say sends lines at once, and wants replies that begin so, in this order.
func (c *client) say(text string, want ...string) {
	c.t.Helper()
	if text != "" { // net.Pipe waits for a reader even of nothing
		if _, err := io.WriteString(c, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, w := range want {
		if got := c.reply(); !strings.HasPrefix(got, w) {
			c.t.Fatalf("to %.200q: %q, want %s", text, got, w)
		}
	}
}

const forward = "XFORWARD NAME=mail.bank.example ADDR=192.0.2.25 PORT=4711\n" +
	"XFORWARD PROTO=ESMTP HELO=mail.bank.example IDENT=4D1 SOURCE=REMOTE\n"

func TestEachRecipientGetsAReplyOfItsOwn(t *testing.T) {
	got, addr := start(t, &Server{})
	c := dial(t, addr)
	c.say("", "220 mx.example.org LMTP")
	c.say("LHLO mx.example.org\n", "250-mx.example.org\r\n250-PIPELINING\r\n")
	for range 2 { // on one connection
		c.say(forward+"MAIL FROM:<alice@bank.example> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+3D\n"+
			"RCPT TO:<\"bob b\"@here> ORCPT=rfc822;al+2Bias@here NOTIFY=SUCCESS,DELAY\n"+
			"RCPT TO:<bob@later>\nRCPT TO:<bob@never> ORCPT=utf-8;x\\x{E9}@here\nDATA\n",
			"250 2.0.0", "250 2.0.0", "250 2.1.0", "250 2.1.5", "250 2.1.5", "250 2.1.5", "354 ")
		c.say("Subject: x\n\n..dot\n.\n", "250 2.0.0 queued as X", "451 4.4.3 later", "550 5.7.1 never")
	}
	c.say("QUIT\n", "221 2.0.0")
	want := Envelope{Client: Client{Name: "mail.bank.example", Address: "192.0.2.25", Port: "4711",
		Protocol: "ESMTP", HELO: "mail.bank.example", Ident: "4D1"},
		Sender: "alice@bank.example", Size: 10, UTF8: true, Return: "HDRS", ID: "QQ=",
		Recipients: []Recipient{{`"bob b"@here`, "al+ias@here", "SUCCESS,DELAY"}, {"bob@later", "", ""},
			{"bob@never", "xé@here", ""}}}
	if len(got.envs) != 2 || fmt.Sprint(got.envs[0]) != fmt.Sprint(want) ||
		fmt.Sprint(got.envs[1]) != fmt.Sprint(want) {
		t.Errorf("got\n%+v, want\n%+v", got.envs, want)
	}
	if got.texts[0] != "Subject: x\r\n\r\n.dot\r\n" {
		t.Errorf("content %q", got.texts[0])
	}
}

// TestWithoutXFORWARDNoMailIsTaken: it would look like mail that was written here. XFORWARD counts for one
// message.
func TestWithoutXFORWARDNoMailIsTaken(t *testing.T) {
	got, addr := start(t, &Server{})
	c := dial(t, addr)
	const mail = "MAIL FROM:<a@b.example>\n"
	c.say("LHLO x\n", "220", "250-")
	c.say(mail, "451 4.3.5")
	c.say("XFORWARD NAME=x ADDR=192.0.2.1\n"+mail, "250", "451 4.3.5") // no queue id
	c.say(forward+"RSET\n"+mail, "250", "250", "250", "451 4.3.5")
	// What Postfix itself has made has no client and no queue id.
	const own = "XFORWARD SOURCE=LOCAL\nMAIL FROM:<>\nRSET\n"
	c.say(own, "250", "250 2.1.0", "250")
	c.say(strings.Replace(own, "LOCAL", "REMOTE", 1), "250", "451 4.3.5", "250")
	c.say(strings.Replace(own, "SOURCE", "NAME=a.example SOURCE", 1), "250", "451 4.3.5", "250")
	c.say(strings.Replace(own, "SOURCE", "HELO=a.example SOURCE", 1), "250", "451 4.3.5", "250")
	c.say(strings.Replace(own, "SOURCE=LOCAL", "NAME=[UNAVAILABLE]", 1), "250", "451 4.3.5", "250")
	c.say(forward+"LHLO x\n"+mail, "250", "250", "250-", "451 4.3.5")
	c.say(forward+mail+"RCPT TO:<x@y>\nDATA\n", "250", "250", "250", "250", "354")
	c.say("\nx\n.\n"+mail, "250", "451 4.3.5")
	if len(got.envs) != 1 {
		t.Errorf("taken: %+v", got.envs)
	}
}

func TestUnknownClientsHaveNoValues(t *testing.T) {
	got, addr := start(t, &Server{})
	c := dial(t, addr)
	c.say("LHLO x\nXFORWARD NAME=[UNAVAILABLE] ADDR=[unavailable] PORT=[UNAVAILABLE]\n"+
		"XFORWARD PROTO=[UNAVAILABLE] HELO=[TEMPUNAVAIL] IDENT=4D1 SOURCE=LOCAL\nMAIL FROM:<>\n"+
		"RCPT TO:<x@y>\nDATA\n", "220", "250-", "250", "250", "250", "250", "354")
	c.say("\nx\n.\n", "250")
	if got.envs[0].Client != (Client{Ident: "4D1", isLocal: true}) || got.envs[0].Sender != "" {
		t.Errorf("got %+v", got.envs[0])
	}
}

func TestWrongCommandsAreRefusedAndChangeNothing(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, lines := range [][2]string{
		{"MAIL FROM:<a@b>", "503"}, {"XFORWARD NAME=x", "503"}, {"EHLO x", "500 5.5.1"}, {"HELO x", "500"},
		{"LHLO ", "501"}, {"DATA", "503"},
		{"RCPT TO:<a@b>", "503"}, {"", "500"}, {"BDAT 5 LAST", "500"}, {"STARTTLS", "500"},
		{long, "451 4.5.2"}, {strings.Repeat(long, 20), "451 4.5.2"},
		{"NOOP\x00", "451"}, {"NO\rOP", "451"}, {"VRFY root", "252"}, {"NOOP", "250"}, {"noop", "250"},
	} {
		_, addr := start(t, &Server{})
		c := dial(t, addr)
		c.say(lines[0]+"\nLHLO x\n", "220", lines[1], "250-")
	}
	for _, lines := range [][2]string{
		{"MAIL FROM:a@b", "501 5.1.7"}, {"MAIL FROM:<a b@c>", "501"}, {"MAIL FROM:<a@b", "501"},
		{"MAIL FROM:<a<b@c>", "501"}, {"MAIL TO:<a@b>", "501"},
		{"MAIL FROM:<" + strings.Repeat("a", 2000) + "@b>", "501"}, {"MAIL FROM:<\"a> \"@b>", "250"},
		{"MAIL FROM:<\"a\\\"> \"@b>", "250"},
		{"MAIL FROM:<a@b>x", "501"}, {"MAIL FROM:<a@b> SIZE=-1", "451 4.5.4"},
		{"MAIL FROM:<a@b> SIZE=99999999999999999999", "451 4.5.4"},
		{"MAIL FROM:<a@b> BODY=BINARYMIME", "451 4.5.4"}, {"MAIL FROM:<a@b> AUTH=<>", "451 4.5.4"},
		{"MAIL FROM:<a@b> RET=ALL", "451 4.5.4"}, {"MAIL FROM:<a@b> ENVID=+4", "451 4.5.4"},
		{"XFORWARD", "501"}, {"XFORWARD NAME", "501"}, {"XFORWARD LOGIN=x", "501"},
		{"XFORWARD NAME=+0D", "501"}, {"XFORWARD NAME=+ZZ", "501"},
		{"mail from: <a@b>", "250"},
	} {
		_, addr := start(t, &Server{})
		c := dial(t, addr)
		c.say("LHLO x\n"+forward+lines[0]+"\nNOOP\n", "220", "250-", "250", "250", lines[1], "250")
	}
	for _, lines := range [][2]string{
		{"RCPT TO:<>", "501 5.1.3"}, {"RCPT TO:a", "501"}, {"RCPT TO:<a@b> NOTIFY=NEVER,DELAY", "451 4.5.4"},
		{"RCPT TO:<a@b> NOTIFY=DELAY,DELAY", "451 4.5.4"},
		{"RCPT TO:<a@b> NOTIFY=", "451 4.5.4"}, {"RCPT TO:<a@b> ORCPT=rfc822", "451 4.5.4"},
		{"RCPT TO:<a@b> RRVS=x", "451 4.5.4"}, {"MAIL FROM:<c@d>", "503"}, {"XFORWARD NAME=x", "503"},
		{"DATA", "503"}, {"DATA x", "501"}, {"RCPT TO:<a@b> NOTIFY=never", "250"},
		{"RCPT TO:<a@b> ORCPT=x400;abc", "250"}, {"RCPT TO:<a@b> ORCPT=rfc822;a+0Ab", "250"},
	} {
		_, addr := start(t, &Server{})
		c := dial(t, addr)
		c.say("LHLO x\n"+forward+"MAIL FROM:<a@b>\n"+lines[0]+"\nNOOP\n", "220", "250-", "250", "250", "250",
			lines[1], "250")
	}
}

func TestOfTooManyErrorsComesAnEnd(t *testing.T) {
	_, addr := start(t, &Server{})
	c := dial(t, addr)
	c.say(strings.Repeat("X\n", maxFault+1),
		append(append([]string{"220"}, slices.Repeat([]string{"500"}, maxFault+1)...), "421", "(EOF)")...)
}

func TestTooManyRecipientsComeAgain(t *testing.T) {
	_, addr := start(t, &Server{MostRecipients: 2})
	c := dial(t, addr)
	c.say("LHLO x\n"+forward+"MAIL FROM:<a@b>\nRCPT TO:<a@b>\nRCPT TO:<b@b>\nRCPT TO:<c@b>\nDATA\n", "220",
		"250-", "250", "250", "250", "250", "250", "452 4.5.3", "354")
	c.say("\nx\n.\n", "250", "250")
}

// TestOnlyCRLFDotCRLFEndsAMessage: any other end would let a sender hide one message in another.
func TestOnlyCRLFDotCRLFEndsAMessage(t *testing.T) {
	for _, text := range []string{"a\n.\nb", "a\n.\r\nb", "a\r\n.\nb", "a\r.\rb", "a\r.\r\nb", "\n.\n",
		"a\r\n.\rb", "a\r\r\n..\r\nb", strings.Repeat("y", 16<<10-1) + "\r\n..x",
		strings.Repeat("y", 16<<10) + "\r\n..x", strings.Repeat("y", 16<<10-2) + "\r\n..x",
		strings.Repeat("y", 50<<10) + "\n.\n", ".\n.\n"} {
		got, addr := start(t, &Server{})
		c := dial(t, addr)
		c.say("LHLO x\n"+forward+"MAIL FROM:<a@b>\nRCPT TO:<a@b>\nDATA\n", "220", "250-", "250", "250", "250",
			"250", "354")
		if _, err := io.WriteString(c, text+"\r\n.\r\nNOOP\r\n"); err != nil {
			t.Fatal(err)
		}
		c.say("", "250 2.0.0 queued", "250 2.0.0 Ok")
		want := strings.ReplaceAll("\r\n"+text, "\r\n.", "\r\n")[2:] + "\r\n"
		if len(got.texts) != 1 || got.texts[0] != want {
			t.Errorf("%.40q: got %.80q, want %.80q", text, got.texts, want)
		}
	}
}

// TestAConnectionThatEndsWithinAMessageHandsNothingOn: the handler gets an error, not an end.
func TestAConnectionThatEndsWithinAMessageHandsNothingOn(t *testing.T) {
	ended := make(chan error, 1)
	_, addr := start(t, &Server{Handle: func(_ context.Context, _ *Envelope, content io.Reader) []Reply {
		_, err := io.ReadAll(content)
		ended <- err
		return nil
	}})
	for _, text := range []string{"", "Subject: x\n", "\nbody\n", "\nbody\n."} {
		c := dial(t, addr)
		c.say("LHLO x\n"+forward+"MAIL FROM:<a@b>\nRCPT TO:<a@b>\nDATA\n", "220", "250-", "250", "250", "250",
			"250", "354")
		c.say(text)
		c.Close()
		if err := <-ended; err != io.ErrUnexpectedEOF {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestAHandlerThatReadsNothingLosesNoReply: the rest of the message is read, and is not taken for commands.
func TestAHandlerThatReadsNothingLosesNoReply(t *testing.T) {
	_, addr := start(t, &Server{Handle: func(context.Context, *Envelope, io.Reader) []Reply {
		return []Reply{{"4.3.1", "no space"}}
	}})
	c := dial(t, addr)
	c.say("LHLO x\n"+forward+"MAIL FROM:<a@b>\nRCPT TO:<a@b>\nRCPT TO:<c@b>\nDATA\n", "220", "250-", "250",
		"250", "250", "250", "250", "354")
	c.say(strings.Repeat("QUIT\n", 10000)+".\nNOOP\n", "451 4.3.1 no space", "451 4.3.0", "250")
}

func TestASilentClientIsHungUpOn(t *testing.T) {
	const mail = "LHLO x\n" + forward + "MAIL FROM:<a@b>\nRCPT TO:<a@b>\nDATA\n"
	for _, row := range []struct {
		says []string
		want []string
	}{
		{nil, []string{"220", "421 4.3.2", "(EOF)"}},
		{[]string{"LHLO x\n"}, []string{"220", "250-", "421 4.3.2", "(EOF)"}},
		{[]string{mail, "half a mess"}, []string{"220", "250-", "250", "250", "250", "250", "354", "(EOF)"}},
	} {
		synctest.Test(t, func(t *testing.T) { // its clock stands still while anybody has something to do
			ours, theirs := net.Pipe()
			defer ours.Close()
			s := &Server{Hostname: "x", Handle: func(_ context.Context, _ *Envelope, r io.Reader) []Reply {
				io.Copy(io.Discard, r)
				return nil
			}}
			began := time.Now()
			go func() {
				newSession(s, theirs).serve(t.Context())
				theirs.Close()
			}()
			go func() {
				for _, text := range row.says {
					io.WriteString(ours, strings.ReplaceAll(text, "\n", "\r\n"))
				}
			}()
			(&client{t, ours, bufio.NewReader(ours)}).say("", row.want...)
			if waited := time.Since(began); waited != defaultPatience {
				t.Errorf("after %q it waited %v", row.says, waited)
			}
		})
	}
}

func TestTooManyConnectionsComeBackLater(t *testing.T) {
	_, addr := start(t, &Server{MostConnections: 1})
	first := dial(t, addr)
	first.say("", "220")
	dial(t, addr).say("", "421 4.3.2", "(EOF)")
	first.say("QUIT\n", "221", "(EOF)")
	// Its place is free as soon as the server has seen the end.
	for again := ""; !strings.HasPrefix(again, "220"); {
		again = dial(t, addr).reply()
	}
}

// TestTheEndWaitsForMessagesAndNotForIdleClients
func TestTheEndWaitsForMessagesAndNotForIdleClients(t *testing.T) {
	reading := make(chan bool, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Hostname: "x", Handle: func(_ context.Context, _ *Envelope, content io.Reader) []Reply {
		reading <- true
		io.Copy(io.Discard, content)
		return []Reply{{"2.0.0", "taken"}}
	}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	idle, busy := dial(t, l.Addr().String()), dial(t, l.Addr().String())
	idle.say("LHLO x\n", "220", "250-")
	busy.say("LHLO x\n"+forward+"MAIL FROM:<a@b>\nRCPT TO:<a@b>\nDATA\n", "220", "250-", "250", "250", "250",
		"250", "354")
	<-reading
	cancel()
	idle.say("", "421 4.3.2", "(EOF)")
	busy.say("\nx\n.\n", "250 2.0.0 taken", "421 4.3.2", "(EOF)")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestAClientThatConnectsAtTheEndIsToldToComeBack: after those that were there had been told.
func TestAClientThatConnectsAtTheEndIsToldToComeBack(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	s := &Server{Hostname: "x"}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.hurry()
	go func() {
		c := s.admit(ctx, theirs)
		c.serve(ctx)
		s.leave(c)
	}()
	(&client{t, ours, bufio.NewReader(ours)}).say("", "220", "421 4.3.2", "(EOF)")
}

func TestAListenerThatFailsEndsIdleSessions(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	done := make(chan error, 1)
	go func() { done <- (&Server{Hostname: "x"}).Serve(context.Background(), listen.Once(theirs)) }()
	(&client{t, ours, bufio.NewReader(ours)}).say("", "220", "421 4.3.2", "(EOF)")
	if err := <-done; err != io.ErrUnexpectedEOF {
		t.Errorf("ended with %v", err)
	}
}

func FuzzSession(f *testing.F) {
	f.Add([]byte("LHLO x\r\n" + strings.ReplaceAll(forward, "\n", "\r\n") + "MAIL FROM:<a@b>\r\n" +
		"RCPT TO:<a@b>\r\nDATA\r\n\r\n.x\r\n.\r\n"))
	f.Add([]byte("MAIL FROM:<\"\\\">\r\nXFORWARD NAME=+4\r\nRCPT TO:<a> ORCPT=utf-8;\\x{11FFFF}\r\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		here, there := net.Pipe()
		s := &Server{Hostname: "x",
			Handle: func(_ context.Context, env *Envelope, content io.Reader) []Reply {
				isOwn := env.Client == Client{isLocal: true}
				if env.Client.Ident == "" && !isOwn || len(env.Recipients) == 0 {
					t.Error("a message without XFORWARD or without a recipient")
				}
				for _, r := range env.Recipients {
					if strings.ContainsFunc(r.Address+r.Original+r.Notify+env.Sender+env.ID+
						env.Return, isControl) {
						t.Errorf("control character in %+v", env)
					}
				}
				io.Copy(io.Discard, iotest.OneByteReader(content))
				return nil
			}}
		c := newSession(s, here)
		done := make(chan bool)
		go func() { c.serve(context.Background()); here.Close(); close(done) }()
		go func() { io.Copy(io.Discard, there) }()
		there.Write(input)
		there.Close()
		<-done
	})
}
