// Package postconf reads a Postfix configuration and gives the commands that change it. Both go through Postfix's own programs,
// postconf(1), postmap(1) and postfix(1), so that what is read is what Postfix reads.
package postconf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Config is a configuration as it was when it was opened.
type Config struct {
	// Dir is the configuration directory, absolute.
	Dir     string
	Version Version

	isDefault bool
	values    map[string]string // as written, defaults included
	set       map[string]string // those that main.cf sets
	services  []Service
}

// Open reads the configuration in a directory; "" is Postfix's own.
func Open(dir string) (*Config, error) {
	c := &Config{isDefault: dir == ""}
	if dir != "" {
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		c.Dir = absolute
	}
	all, err := c.postconf()
	if err != nil {
		return nil, err
	}
	set, err := c.postconf("-n")
	if err != nil {
		return nil, err
	}
	c.values, c.set = parameters(all), parameters(set)
	maps.Copy(c.values, c.set)
	if dir == "" {
		c.Dir = c.values["config_directory"]
	}
	if c.Version, err = parseVersion(c.values["mail_version"]); err != nil {
		return nil, err
	}
	c.services, err = c.readServices()
	return c, err
}

// parameters reads "name = value" lines.
func parameters(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, found := strings.Cut(line, "="); found {
			values[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return values
}

// Get gives a parameter of main.cf as it is written there, or its default; "" if Postfix does not know it.
func (c *Config) Get(name string) string { return c.values[name] }

// IsSet tells whether main.cf sets a parameter.
func (c *Config) IsSet(name string) bool {
	_, found := c.set[name]
	return found
}

// Expand gives a parameter with its $names replaced.
func (c *Config) Expand(name string) (string, error) {
	text, err := c.postconf("-hx", name)
	return strings.TrimSpace(text), err
}

// Expanded gives the configuration with the $names in its values and options replaced.
func (c *Config) Expanded() (*Config, error) {
	all, err := c.postconf("-x")
	if err != nil {
		return nil, err
	}
	expanded := *c
	expanded.values = parameters(all)
	expanded.services, err = c.readServices("-x")
	return &expanded, err
}

// MapTypes are the types of look-up tables that this Postfix knows.
func (c *Config) MapTypes() ([]string, error) {
	text, err := c.postconf("-m")
	return strings.Fields(text), err
}

// Lookup asks a table such as "hash:/etc/postfix/virtual" for a key, through postmap(1). Paths that are not absolute start from the
// queue directory, as they do for Postfix's daemons. A table that cannot be asked is an error.
func (c *Config) Lookup(ctx context.Context, table, key string) (value string, found bool, err error) {
	if key == "-" || strings.ContainsAny(key, "\r\n\x00") {
		return "", false, nil // postmap would read keys from its standard input
	}
	queue, err := c.Expand("queue_directory")
	if err != nil {
		return "", false, err
	}
	args := []string{"-q", key, table}
	cmd := exec.CommandContext(ctx, "postmap", c.withDir(args)...)
	cmd.Dir = queue
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return strings.TrimRight(stdout.String(), "\n"), true, nil
	case errors.As(err, &exit) && exit.ExitCode() == 1 && stderr.Len() == 0:
		return "", false, nil
	}
	return "", false, failure(cmd.Args, err, stderr.Bytes())
}

// IsRunning tells whether a Postfix runs with this configuration.
func (c *Config) IsRunning() bool { return c.PostfixCommand("status").Run() == nil }

func (c *Config) postconf(args ...string) (string, error) {
	cmd := exec.Command("postconf", c.withDir(args)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", failure(cmd.Args, err, stderr.Bytes())
	}
	return string(out), nil
}

func (c *Config) withDir(args []string) []string {
	if c.isDefault {
		return args
	}
	return append([]string{"-c", c.Dir}, args...)
}

// failure names the command and what it said last.
func failure(args []string, err error, stderr []byte) error {
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: is Postfix installed, and its programs' folder (/usr/sbin) in PATH?", err)
	}
	lines := strings.Split(strings.TrimSpace(string(stderr)), "\n")
	if i := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, "fatal: ") }); i >= 0 {
		lines = lines[i:]
	}
	return fmt.Errorf("%s: %w: %s", Command(args), err, lines[0])
}
