package postconf

import (
	"fmt"
	"os/exec"
	"strings"
)

// Command is a program with its arguments.
type Command []string

// String is the command as a person would type it into a shell.
func (c Command) String() string {
	words := make([]string, len(c))
	for i, word := range c {
		words[i] = quote(word)
	}
	return strings.Join(words, " ")
}

// quote makes a word of a POSIX shell.
func quote(word string) string {
	plain := word != "" &&
		strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=@%+,") == ""
	if plain {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Run carries the command out. The error holds what it said.
func (c Command) Run() error {
	out, err := exec.Command(c[0], c[1:]...).CombinedOutput()
	if err != nil {
		return failure(c, err, out)
	}
	return nil
}

// Parameter is a line of main.cf. In its value, "$" starts a $name, and "$$" is a dollar.
type Parameter struct{ Name, Value string }

// SetCommand sets parameters of main.cf, all at once.
func (c *Config) SetCommand(parameters ...Parameter) Command {
	cmd := c.command("postconf", "-e")
	for _, p := range parameters {
		cmd = append(cmd, p.Name+"="+p.Value)
	}
	return cmd
}

// UnsetCommand removes parameters from main.cf.
func (c *Config) UnsetCommand(names ...string) Command {
	return append(c.command("postconf", "-X"), names...)
}

// SetServiceCommand puts an entry into master.cf, in the place of the one with that ID if there is one.
func (c *Config) SetServiceCommand(id, line string) Command {
	return c.command("postconf", "-M", id+"="+line)
}

// UnsetServiceCommand removes an entry of master.cf.
func (c *Config) UnsetServiceCommand(id string) Command { return c.command("postconf", "-MX", id) }

// SetOptionCommand sets a parameter of one service, UnsetOptionCommand removes it: -o name=value.
func (c *Config) SetOptionCommand(id, name, value string) Command {
	return c.command("postconf", "-P", fmt.Sprintf("%s/%s=%s", id, name, value))
}

// UnsetOptionCommand removes a parameter of one service.
func (c *Config) UnsetOptionCommand(id, name string) Command {
	return c.command("postconf", "-PX", id+"/"+name)
}

// SetFieldCommand sets a column of a service's entry, "smtp/inet/chroot"; the column "command" is all that
// comes last.
func (c *Config) SetFieldCommand(field, value string) Command {
	return c.command("postconf", "-F", field+"="+value)
}

// PostfixCommand is postfix(1): "check", "reload", "status". Of several instances, it is for this one alone:
// postfix(1) takes Postfix's own for all of them, and fails if one of them does not run.
func (c *Config) PostfixCommand(verb string) Command {
	if c.isDefault && c.Get("multi_instance_directories") != "" && c.Get("multi_instance_wrapper") != "" {
		return Command{"postmulti", "-i", "-", "-p", verb}
	}
	return c.command("postfix", verb)
}

func (c *Config) command(program string, args ...string) Command {
	return append(Command{program}, c.withDir(args)...)
}

// RequeueCommand has Postfix queue all its mail anew. Held mail stays held: without names of queues,
// postsuper(1) would release it.
func (c *Config) RequeueCommand() Command {
	return c.command("postsuper", "-r", "ALL", "incoming", "active", "deferred")
}
