package milter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryDoesNotGrowWithTheBodyOrTheHeader(t *testing.T) {
	inUse := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before, peak := inUse(), uint64(0)
	m := start(t, func(_ context.Context, _ *Envelope, content io.Reader) Verdict {
		buffer := make([]byte, 32<<10)
		for n, total := 0, 0; ; {
			var err error
			n, err = content.Read(buffer)
			if total += n; total>>24 != (total-n)>>24 {
				peak = max(peak, inUse())
			}
			if err != nil {
				return Verdict{}
			}
		}
	})
	m.envelope("a@example.net", "b@example.org")
	for i := range 100_000 {
		m.send('L', z("X-Number", fmt.Sprintf(" %d", i)))
	}
	m.send('N')
	chunk := packetOf('B', bytes.Repeat([]byte("x"), 65535))
	for range 100 << 20 / 65535 {
		m.conn.Write(chunk)
	}
	m.send('E')
	if code, _ := m.read(); code != 'c' {
		t.Errorf("answer %q", code)
	}
	const most = 2 << 20 // a packet of 64 KiB on each side
	if peak > before+most {
		t.Errorf("%d octets more in use", peak-before)
	}
}

func TestFiveHundredConversationsAtOnceAndOneOfThemBroken(t *testing.T) {
	var waiting sync.WaitGroup
	const many = 500
	waiting.Add(many)
	judge := func(_ context.Context, env *Envelope, content io.Reader) Verdict {
		waiting.Done()
		waiting.Wait() // all of them are in a message now
		io.Copy(io.Discard, content)
		return Verdict{Reply: "550 5.7.1 " + env.Sender}
	}
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			m := start(t, judge)
			sender := fmt.Sprintf("%d@example.net", i)
			m.envelope(sender, "b@example.org")
			if i == 7 {
				m.send('L', z("From", "x"))
				m.conn.Write(u32(0))
				if err := m.end(); !errors.Is(err, ErrProtocol) {
					t.Errorf("the broken one ended with %v", err)
				}
				return
			}
			m.content()
			if _, data := m.read(); string(data) != "550 5.7.1 "+sender+"\x00" {
				t.Errorf("%d got %q", i, data)
			}
		})
	}
	all.Wait()
}

// A verdict may be known before the whole content was read.
func TestAVerdictWithoutReadingTheContentIsSentAtItsEnd(t *testing.T) {
	m := start(t, func(context.Context, *Envelope, io.Reader) Verdict {
		return Verdict{Reply: "451 4.3.0 later"}
	})
	for range 2 {
		m.envelope("a@example.net", "b@example.org")
		m.content()
		if code, data := m.read(); code != 'y' || string(data) != "451 4.3.0 later\x00" {
			t.Errorf("%q %q", code, data)
		}
	}
}

func TestAStopWaitsForTheMessageThatIsUnderWay(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	judge, seen := collect(Verdict{})
	m := dial(t, ctx, judge)
	m.conn.Write(hello)
	m.read()
	m.envelope("a@example.net", "b@example.org")
	m.send('L', z("From", " x"))
	stop()
	m.send('E')
	if code, _ := m.read(); code != 'c' {
		t.Errorf("answer %q", code)
	}
	if got := <-seen; got.err != nil {
		t.Error(got.err)
	}
	if err := m.end(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// lateConn hears of a stop just when the next read begins.
type lateConn struct {
	net.Conn
	ctx            context.Context
	reading, heard chan struct{}
	once           sync.Once
}

func (c *lateConn) Read(b []byte) (int, error) {
	if c.ctx.Err() != nil {
		c.once.Do(func() {
			close(c.reading)
			<-c.heard
		})
	}
	return c.Conn.Read(b)
}

func (c *lateConn) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		<-c.reading
		defer close(c.heard)
	}
	return c.Conn.SetReadDeadline(t)
}

func TestAStopThatIsHeardLateDoesNotCutAMessage(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	judge, seen := collect(Verdict{})
	m := dialOver(t, ctx, judge, func(conn net.Conn) net.Conn {
		return &lateConn{Conn: conn, ctx: ctx, reading: make(chan struct{}), heard: make(chan struct{})}
	})
	m.conn.Write(hello)
	m.read()
	m.envelope("a@example.net", "b@example.org")
	m.send('L', z("From", " x"))
	stop()
	m.send('L', z("Subject", " y"))
	m.send('L', z("To", " z"))
	m.send('E')
	if code, _ := m.read(); code != 'c' {
		t.Errorf("answer %q", code)
	}
	if got := <-seen; got.err != nil {
		t.Error(got.err)
	}
}

func TestAClientThatNegotiatesNothingDoesNotHoldAConversationForEver(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	c := newConversation(context.Background(), theirs, nil)
	c.slow = time.Millisecond
	if err := c.serve(); !isTimeout(err) {
		t.Errorf("ended with %v", err)
	}
}

// smtpd(8) tells a milter nothing of NOOP and the like, so its client can be silent for as long as it wants.
func TestNoSilenceOfASenderGetsItsMessagePastTheMilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		judge, seen := collect(Verdict{})
		m := start(t, judge)
		defer m.conn.Close()
		const weeks = 1000 * time.Hour
		time.Sleep(weeks)
		m.send('D', []byte("C"), z("j", "mx.example.org"))
		m.send('C', z("mail.example.net"), []byte("4"), []byte{0x12, 0x34}, z("192.0.2.7"))
		time.Sleep(weeks)
		m.send('H', z("mail.example.net"))
		for range 2 {
			time.Sleep(weeks)
			m.mail("a@example.net", "b@example.org")
			time.Sleep(weeks)
			m.content()
			if code, _ := m.read(); code != 'c' {
				t.Errorf("answer %q", code)
			}
			if got := <-seen; got.err != nil {
				t.Error(got.err)
			}
		}
	})
}

func TestADripDoesNotHoldAMessageForEver(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	c := newConversation(context.Background(),
		theirs, func(_ context.Context, _ *Envelope, content io.Reader) Verdict {
			io.Copy(io.Discard, content)
			return Verdict{}
		})
	c.longest = 10 * time.Millisecond
	go io.Copy(io.Discard, ours)
	go func() {
		defer theirs.Close()
		if err := c.serve(); !isTimeout(err) {
			t.Errorf("ended with %v", err)
		}
	}()
	ours.Write(hello)
	for drop := packetOf('L', z("X", "y")); ; {
		for i := range drop {
			if _, err := ours.Write(drop[i : i+1]); err != nil {
				return
			}
		}
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
