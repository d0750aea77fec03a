// Package postconf reads a Postfix configuration and gives the commands that change it. Both go through
// Postfix's own programs, postconf(1), postmap(1) and postfix(1), so that what is read is what Postfix
// reads.
package postconf

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Config is a configuration as it was when it was opened.
type Config struct {
	// Dir is the configuration directory, absolute.
	Dir     string
	Version Version
	// Warnings are what postconf(1) has said about main.cf and master.cf so far.
	Warnings []string

	isDefault bool
	values    map[string]string // as written, defaults included
	set       map[string]string // those that main.cf sets
	entries   string            // of master.cf, as postconf prints them
	services  []Service
	expanded  *Config  // nil until it is asked for
	instead   []string // flags of postconf(1): values instead of main.cf's when $names are expanded
}

// With is the configuration with another value for a parameter, as far as other values refer to it.
func (c *Config) With(p Parameter) *Config {
	changed := *c
	changed.instead = append(slices.Clone(c.instead), "-o", p.Name+"="+p.Value)
	changed.expanded = nil
	return &changed
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
	texts, err := c.postconfs(nil, []string{"-n"}, []string{"-M"}, []string{"-P"})
	if err != nil {
		return nil, err
	}
	c.values, c.set = parameters(texts[0]), parameters(texts[1])
	maps.Copy(c.values, c.set)
	if dir == "" {
		c.Dir = c.values["config_directory"]
	}
	if c.Version, err = parseVersion(c.values["mail_version"]); err != nil {
		return nil, err
	}
	c.entries = texts[2]
	c.services, err = c.parseServices(c.entries, texts[3])
	return c, err
}

// IsDefault tells whether this is Postfix's own configuration, and not one in a folder that was named.
func (c *Config) IsDefault() bool { return c.isDefault }

// IsInstance tells whether this is one of the instances that Postfix starts by itself (postmulti(1)).
func (c *Config) IsInstance() bool {
	if c.isDefault || c.Get("multi_instance_enable") != "yes" {
		return false
	}
	own := openOwn()
	return own != nil && slices.Contains(List(own.Get("multi_instance_directories")), filepath.Clean(c.Dir))
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
	expanded, err := c.Expanded()
	if err != nil {
		return "", err
	}
	return expanded.Get(name), nil
}

// Expanded gives the configuration with the $names in its values and options replaced.
func (c *Config) Expanded() (*Config, error) {
	if c.expanded != nil {
		return c.expanded, nil
	}
	texts, err := c.postconfs(append([]string{"-x"}, c.instead...),
		append([]string{"-x", "-P"}, c.instead...))
	if err != nil {
		return nil, err
	}
	expanded := *c
	expanded.values = parameters(texts[0])
	if expanded.services, err = c.parseServices(c.entries, texts[1]); err != nil {
		return nil, err
	}
	expanded.expanded, c.expanded = &expanded, &expanded
	return c.expanded, nil
}

// Lookup asks a table such as "hash:/etc/postfix/virtual" for a key, through postmap(1). Paths that are not
// absolute start from the queue directory, as they do for Postfix's daemons. A table that cannot be asked
// is an error.
func (c *Config) Lookup(ctx context.Context, table, key string) (value string, found bool, err error) {
	if key == "-" || strings.ContainsAny(key, "\r\n\x00") {
		return "", false, nil // postmap would read keys from its standard input
	}
	text, err := c.postmap(ctx, "", "-q", key, table)
	return strings.TrimRight(text, "\n"), text != "", err
}

// Lookups asks a table for several keys at once, none of which may hold a tab or a line end, and gives the
// values of those that it has.
func (c *Config) Lookups(ctx context.Context, table string, keys []string) (map[string]string, error) {
	text, err := c.postmap(ctx, strings.Join(keys, "\n")+"\n", "-q", "-", table)
	return entries(text), err
}

// entries reads lines of a key, a tab and a value, as postmap(1) prints them.
func entries(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		values[key] = value
	}
	return values
}

// Keys gives all keys of a table, sorted. An error tells that its type cannot tell them, too.
func (c *Config) Keys(ctx context.Context, table string) ([]string, error) {
	values, err := c.Entries(ctx, table)
	return slices.Sorted(maps.Keys(values)), err
}

// Entries gives all keys of a table with their values. An error tells that its type cannot tell them, too.
func (c *Config) Entries(ctx context.Context, table string) (map[string]string, error) {
	kind, _, _ := strings.Cut(table, ":")
	// For the others, postmap(1) takes a second to say so.
	if !slices.Contains([]string{"btree", "dbm", "hash", "inline", "lmdb", "sdbm", "texthash"}, kind) {
		return nil, fmt.Errorf("tables of type %s cannot be listed", kind)
	}
	text, err := c.postmap(ctx, "", "-s", table)
	return entries(text), err
}

// postmap gives what postmap(1) prints; "" if nothing was found.
func (c *Config) postmap(ctx context.Context, stdin string, args ...string) (string, error) {
	queue, err := c.Expand("queue_directory")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "postmap", c.withDir(args)...)
	cmd.Dir, cmd.Stdin = queue, strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	// Exit status 1 means "not found", or that the table failed: then, and not with mere warnings, the word
	// is "fatal".
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1 ||
		bytes.Contains(stderr.Bytes(), []byte("fatal: "))) {
		return "", failure(cmd.Args, err, stderr.Bytes())
	}
	return stdout.String(), nil
}

// IsRunning tells whether a Postfix runs with this configuration. Only root is told.
func (c *Config) IsRunning() bool { return c.PostfixCommand("status").Run() == nil }

// IsAtRest tells whether none runs, as far as that is known.
func (c *Config) IsAtRest() bool { return os.Geteuid() == 0 && !c.IsRunning() }

// postconfs runs postconf(1) with several sets of arguments, side by side.
func (c *Config) postconfs(args ...[]string) ([]string, error) {
	texts, said, errs := make([]string, len(args)), make([]string, len(args)), make([]error, len(args))
	var running sync.WaitGroup
	for i := range args {
		running.Go(func() { texts[i], said[i], errs[i] = c.postconf(args[i]...) })
	}
	running.Wait()
	for line := range strings.Lines(strings.Join(said, "")) {
		warning, found := strings.CutPrefix(strings.TrimSpace(line), "postconf: warning: ")
		if found && !slices.Contains(c.Warnings, warning) {
			c.Warnings = append(c.Warnings, warning)
		}
	}
	return texts, cmp.Or(errs...)
}

func (c *Config) postconf(args ...string) (out, said string, err error) {
	cmd := exec.Command("postconf", c.withDir(args)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", "", failure(cmd.Args, err, stderr.Bytes())
	}
	return stdout.String(), stderr.String(), nil
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
	i := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, "fatal: ") })
	if i >= 0 {
		lines = lines[i:]
	}
	return fmt.Errorf("%s: %w: %s", Command(args), err, lines[0])
}
