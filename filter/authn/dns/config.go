package dns

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// resolv.conf(5)'s defaults, and the limits of the C library.
const (
	defaultTimeout  = 5 * time.Second
	defaultAttempts = 2
	maxServers      = 3
	maxTimeout      = 30
	maxAttempts     = 5
)

// readConfig reads resolv.conf(5). Without the file, or a server in it, the server on this host is used.
// Other lines and options, and invalid ones, are ignored.
func readConfig(file string) *Client {
	c := &Client{timeout: defaultTimeout, attempts: defaultAttempts}
	text, _ := os.ReadFile(file)
	rotate := false
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch {
		case len(words) < 2:
		case words[0] == "nameserver" && len(c.servers) < maxServers:
			if _, err := netip.ParseAddr(words[1]); err == nil {
				c.servers = append(c.servers, net.JoinHostPort(words[1], "53"))
			}
		case words[0] == "options":
			for _, option := range words[1:] {
				c.set(option)
				rotate = rotate || option == "rotate"
			}
		}
	}
	if len(c.servers) == 0 {
		c.servers = []string{"127.0.0.1:53"}
	}
	if rotate {
		c.servers = rotated(c.servers)
	}
	return c
}

func (c *Client) set(option string) {
	name, value, _ := strings.Cut(option, ":")
	number, err := strconv.Atoi(value)
	switch {
	case name == "use-vc":
		c.overTCP = true
	case err != nil:
	case name == "timeout":
		c.timeout = time.Duration(min(max(number, 1), maxTimeout)) * time.Second
	case name == "attempts":
		c.attempts = min(max(number, 1), maxAttempts)
	}
}
