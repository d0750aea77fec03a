package serve

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"postmend/postfix"
)

func TestAnIdleConnectionEnds(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	err := postfix.ServeTCP(patientConn{there, context.Background(), time.Millisecond}, there, nil)
	if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
		t.Errorf("%v", err)
	}
}

// TestAClientThatReadsNoAnswerDoesNotHoldUpTheEnd: also if the end comes just before the next query is read.
func TestAClientThatReadsNoAnswerDoesNotHoldUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer here.Close()
		ctx, end := context.WithCancel(context.Background())
		end()
		began := time.Now()
		c := patientConn{there, ctx, tableIdle}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("read: %v", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %v", err)
		}
		if waited := time.Since(began); waited > time.Minute {
			t.Errorf("it waited %v", waited)
		}
	})
}
