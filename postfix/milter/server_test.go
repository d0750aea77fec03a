package milter

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"postmend/tests/listen"
)

func TestAServerThatStopsJudgesWhatIsUnderWay(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	collecting, seen := collect(Verdict{})
	began := make(chan bool, 1)
	judge := func(ctx context.Context, env *Envelope, content io.Reader) Verdict {
		began <- true
		return collecting(ctx, env, content)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 10)
	done := make(chan error, 1)
	server := &Server{Judge: judge, Ended: func(err error) { ended <- err }}
	go func() { done <- server.Serve(ctx, listener) }()
	connect := func() *mta {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		m := &mta{t: t, conn: conn}
		conn.Write(hello)
		m.read()
		return m
	}
	busy, idle, broken := connect(), connect(), connect()
	broken.conn.Write(u32(0))
	if err := <-ended; !errors.Is(err, ErrProtocol) {
		t.Errorf("the broken one ended with %v", err)
	}
	busy.envelope("a@example.net", "b@example.org")
	busy.send('L', z("From", " x"))
	idle.send('C', z("x"), []byte("U"))
	<-began
	stop()
	if _, err := idle.conn.Read(make([]byte, 1)); err == nil {
		t.Error("the idle one was told something")
	}
	busy.send('E')
	if code, _ := busy.read(); code != 'c' {
		t.Errorf("answer %q", code)
	}
	if got := <-seen; got.err != nil {
		t.Error(got.err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it still listens: %v", err)
	}
}

func TestAListenerThatFailsEndsIdleConversations(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	done := make(chan error, 1)
	go func() { done <- (&Server{}).Serve(context.Background(), listen.Once(theirs)) }()
	if _, err := ours.Read(make([]byte, 1)); err == nil {
		t.Error("it was told something")
	}
	if err := <-done; err != io.ErrUnexpectedEOF {
		t.Errorf("ended with %v", err)
	}
}
