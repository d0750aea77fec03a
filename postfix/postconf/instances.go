package postconf

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Others are the other configurations of this host: Postfix's own, and those that it names as instances of
// postmulti(1) or as alternates. One that cannot be read counts as none.
func (c *Config) Others() []*Config {
	own := c
	if !c.isDefault {
		if own = openOwn(); own == nil {
			return nil
		}
	}
	dirs := []string{own.Dir}
	for _, name := range []string{"multi_instance_directories", "alternate_config_directories"} {
		dirs = append(dirs, List(own.Get(name))...)
	}
	var others []*Config
	seen := map[string]bool{filepath.Clean(c.Dir): true}
	for _, dir := range dirs {
		if dir = filepath.Clean(dir); seen[dir] {
			continue
		}
		seen[dir] = true
		if other, err := Open(dir); err == nil {
			others = append(others, other)
		}
	}
	return others
}

// openOwn opens Postfix's own configuration; nil if there is none, for which postconf(1) takes a second.
func openOwn() *Config {
	dir := os.Getenv("MAIL_CONFIG")
	if dir == "" {
		out, err := exec.Command("postconf", "-d", "-h", "config_directory").Output()
		if err != nil {
			return nil
		}
		dir = strings.TrimSpace(string(out))
	}
	if _, err := os.Stat(filepath.Join(dir, "main.cf")); err != nil {
		return nil
	}
	own, err := Open("")
	if err != nil {
		return nil
	}
	return own
}

// AtPort finds the service that listens at a TCP port, given as a number: "25" is smtp/inet, too.
func (c *Config) AtPort(port string) (Service, bool) {
	for _, s := range c.services {
		if s.Type == "inet" && s.Port() == port {
			return s, true
		}
	}
	return Service{}, false
}
