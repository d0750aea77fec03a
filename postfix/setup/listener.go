package setup

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
)

// checkListener refuses a listener that another instance of Postfix has: two masters may listen at one port,
// and mail of one would come back to the other. A configuration that was just made up has a port of its own.
func (h *home) checkListener(c *postconf.Config) error {
	if h.text != "" {
		return nil
	}
	_, port, _ := net.SplitHostPort(h.listener)
	for _, other := range c.Others() {
		if s, found := other.AtPort(port); found {
			return fmt.Errorf("%s, the target in %s, is %s of the Postfix in %s; this one needs a "+
				"configuration of its own: %s", h.listener, h.path, s.ID(), other.Dir, h.ownConfigFlag(c))
		}
	}
	if _, found := c.AtPort(port); found {
		return nil
	}
	listener, err := net.Listen("tcp", h.listener)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("another program than this Postfix listens at %s, the target in %s; if it is "+
			"another instance, this one needs a configuration of its own: %s",
			h.listener, h.path, h.ownConfigFlag(c))
	} else if err == nil {
		listener.Close()
	}
	return nil
}

// ownConfigFlag proposes the name of a configuration for an instance: that of its folder.
func (h *home) ownConfigFlag(c *postconf.Config) string {
	return postconf.Command{"-c", filepath.Join(filepath.Dir(h.path), filepath.Base(c.Dir)+".toml")}.String()
}

// listenerOf gives the address of the listener that a target names.
func listenerOf(target string) (string, error) {
	u, err := url.Parse(target)
	if err == nil && u.Scheme == "smtp" && u.Port() != "" {
		if ip := net.ParseIP(u.Hostname()).To4(); ip != nil && ip.IsLoopback() {
			return u.Host, nil
		}
	}
	return "", fmt.Errorf(
		"[reinject] has target = %q; setup can make a listener only for smtp://127.0.0.1:PORT", target)
}

// freeListener finds a port of loopback for the listener. A listener that was made for postmend before is
// used again, unless another instance has one at the same port.
func freeListener(c *postconf.Config) string {
	first, _ := strconv.Atoi(layout.ListenerPort())
	const tries = 100
	others := c.Others()
	for number := first; number < first+tries; number++ {
		port := strconv.Itoa(number)
		address := "127.0.0.1:" + port
		s, taken := c.AtPort(port)
		isTaken := func(other *postconf.Config) bool {
			_, found := other.AtPort(port)
			return found
		}
		switch {
		case slices.ContainsFunc(others, isTaken):
		case taken && s.Name == address && s.Options["syslog_name"] == layout.ListenerLog:
			return address
		case !taken && isFree(address):
			return address
		}
	}
	return "127.0.0.1:" + layout.ListenerPort()
}

func isFree(address string) bool {
	listener, err := net.Listen("tcp", address)
	if err == nil {
		listener.Close()
	}
	return err == nil
}
