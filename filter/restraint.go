package filter

import (
	"net"
	"os"
	"strconv"
	"strings"

	"postmend/filter/confine"
)

// Confine takes from the process, for good, what the work of this filter does not need. It is for a process that does nothing else.
// Where that work is done by programs of Postfix's, nothing is taken: sendmail(1) as the target, postmap(1) for local_domains_maps.
func (f *Filter) Confine() error {
	target := f.config.Reinject.Target
	if strings.HasPrefix(target, "sendmail:") || len(f.config.LocalDomainsMaps) > 0 {
		return nil
	}
	needs := confine.Needs{SpoolDir: f.config.Limits.SpoolDir, TCPPorts: []uint16{53}}
	if needs.SpoolDir == "" {
		needs.SpoolDir = os.TempDir()
	}
	_, server, _ := strings.Cut(target, "://")
	server, _, _ = strings.Cut(server, "?")
	for _, address := range []string{server, f.config.Resolver} {
		if _, port, err := net.SplitHostPort(address); err == nil {
			if number, err := strconv.ParseUint(port, 10, 16); err == nil {
				needs.TCPPorts = append(needs.TCPPorts, uint16(number))
			}
		}
	}
	return confine.Apply(needs)
}
