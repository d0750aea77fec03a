package postfix

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

// ParseAddress reads where a service of ours listens, in Postfix's form: inet:HOST:PORT, with an IPv6
// address in brackets, or unix:PATH. Network and address are as package net has them.
func ParseAddress(text string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if !filepath.IsAbs(path) {
			return "", "", fmt.Errorf("address %q: the path must be absolute", text)
		}
		return "unix", filepath.Clean(path), nil
	}
	rest, ok := strings.CutPrefix(text, "inet:")
	host, port, splitErr := net.SplitHostPort(rest)
	if _, portErr := strconv.ParseUint(port, 10, 16); !ok || splitErr != nil || portErr != nil || host == "" {
		return "", "", fmt.Errorf("address %q is neither inet:HOST:PORT nor unix:PATH", text)
	}
	return "tcp", rest, nil
}
