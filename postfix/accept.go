package postfix

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// Accept gives each connection of a listener to take, until ctx ends, and closes the listener. It waits if
// the next connection may be accepted although this one was not.
func Accept(ctx context.Context, listener net.Listener, take func(net.Conn)) error {
	defer listener.Close()
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	for {
		conn, err := listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case isPassing(err):
			time.Sleep(100 * time.Millisecond)
		case err != nil:
			return err
		default:
			take(conn)
		}
	}
}

func isPassing(err error) bool {
	for _, e := range [...]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
