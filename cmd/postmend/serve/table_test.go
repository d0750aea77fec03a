package serve

import (
	"context"
	"net"
	"testing"
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
