package serve

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postmend/cmd/postmend/outcome"
	"postmend/postfix"
)

// listen gives a listener for each service: one that systemd has opened, or a new one.
func listen(services []service) (listeners []net.Listener, err error) {
	passed, err := passedListeners()
	if err != nil {
		return nil, err
	}
	for _, s := range services {
		network, address, err := postfix.ParseAddress(s.address)
		if err != nil {
			return nil, outcome.Misused(fmt.Errorf("%s: %w", s.flag, err))
		}
		listener := passed[network+" "+address]
		if listener == nil {
			if listener, err = listenAt(network, address); err != nil {
				return nil, outcome.Misconfigured(s.flag+" "+s.address+" cannot be served", err)
			}
		}
		delete(passed, network+" "+address)
		listeners = append(listeners, listener)
	}
	for name := range passed {
		return nil, outcome.Misconfigured("systemd passes a socket that no option names", errors.New(name))
	}
	return listeners, nil
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

// passedListeners gives what systemd has opened, by network and address.
func passedListeners() (map[string]net.Listener, error) {
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	listeners := map[string]net.Listener{}
	for fd := firstPassed; fd < firstPassed+count; fd++ {
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
		listeners[listener.Addr().Network()+" "+listener.Addr().String()] = listener
	}
	return listeners, nil
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
