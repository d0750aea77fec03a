// Package listen has servers for tests, which end with the test.
package listen

import (
	"io"
	"net"
	"testing"
)

// TCP starts a server on loopback, and gives its address. It deals with each connection by serve, and then
// closes it.
func TCP(t testing.TB, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	On(t, listener, serve)
	return listener.Addr().String()
}

// On is TCP with a listener that there is already.
func On(t testing.TB, listener net.Listener, serve func(net.Conn)) {
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
}

// Once is a listener that fails after one connection.
func Once(conn net.Conn) net.Listener {
	conns := make(chan net.Conn, 1)
	conns <- conn
	close(conns)
	return once{conns: conns}
}

type once struct {
	net.Listener
	conns chan net.Conn
}

func (l once) Accept() (net.Conn, error) {
	if conn, more := <-l.conns; more {
		return conn, nil
	}
	return nil, io.ErrUnexpectedEOF
}

func (l once) Close() error { return nil }
