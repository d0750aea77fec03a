package serve

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postmend/cmd/postmend/outcome"
	"postmend/postfix"
)

// listen gives each service its listener: one that systemd has opened, or a new one.
func listen(services []service, sockets []socket) error {
	for i := range services {
		s := &services[i]
		network, address, err := postfix.ParseAddress(s.address)
		if err != nil {
			return outcome.Misused(fmt.Errorf("--%s: %w", s.name, err))
		}
		isIts := func(other socket) bool {
			return other.Addr().Network() == network && other.Addr().String() == address
		}
		if at := slices.IndexFunc(sockets, isIts); at >= 0 {
			s.listener = sockets[at].Listener
			sockets = slices.Delete(sockets, at, at+1)
		} else if s.listener, err = listenAt(network, address); err != nil {
			return outcome.Misconfigured("--"+s.name+" "+s.address+" cannot be served", err)
		}
	}
	if len(sockets) > 0 {
		return outcome.Misconfigured("systemd passes a socket that no option names",
			errors.New(sockets[0].address()))
	}
	return nil
}

// listenAt opens a listener. A Unix-domain socket is for the account and its group. One that a dead process
// has left behind is removed.
func listenAt(network, address string) (net.Listener, error) {
	if network != "unix" {
		return net.Listen(network, address)
	}
	if info, err := os.Lstat(address); err == nil && info.Mode()&os.ModeSocket != 0 {
		if _, err := net.DialTimeout(network, address, time.Second); errors.Is(err, syscall.ECONNREFUSED) {
			os.Remove(address)
		}
	}
	old := syscall.Umask(0o117) // nothing else makes files yet
	defer syscall.Umask(old)
	return net.Listen(network, address)
}

// firstPassed is the file descriptor of the first socket that systemd passes (sd_listen_fds(3)).
const firstPassed = 3

// socket is one that systemd has opened.
type socket struct {
	net.Listener
	name string // FileDescriptorName
}

// address has the form of postfix.ParseAddress.
func (s socket) address() string {
	if s.Addr().Network() == "unix" {
		return "unix:" + s.Addr().String()
	}
	return "inet:" + s.Addr().String()
}

// passedSockets are those that systemd has opened for us.
func passedSockets() (sockets []socket, err error) {
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for n := range count {
		fd := firstPassed + n
		unix.CloseOnExec(fd)
		file := os.NewFile(uintptr(fd), "LISTEN_FD_"+strconv.Itoa(fd))
		listener, err := net.FileListener(file)
		file.Close()
		if err != nil {
			return nil, outcome.Misconfigured("a socket that systemd passes cannot be used", err)
		}
		if own, ok := listener.(*net.UnixListener); ok {
			own.SetUnlinkOnClose(false) // it is systemd's
		}
		s := socket{Listener: listener}
		if n < len(names) {
			s.name = names[n]
		}
		sockets = append(sockets, s)
	}
	return sockets, nil
}

// notify tells systemd our state (sd_notify(3)), if it wants to know.
func notify(state string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	conn, err := net.Dial("unixgram", socket) // package net knows the @ of abstract names
	if err != nil {
		return
	}
	defer conn.Close()
	conn.Write([]byte(state))
}

// monotonic is the time for RELOADING, in microseconds.
func monotonic() int64 {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0
	}
	return now.Nano() / 1000
}
