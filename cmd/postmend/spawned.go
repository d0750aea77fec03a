package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"postmend/cmd/postmend/outcome"
)

// spawnedDirectly is filterDirectly for a command that holds a conversation: its flags, and what it does.
func (inv *invocation) spawnedDirectly(
	args []string, name string, define func(*pflag.FlagSet), run func() error,
) bool {
	if len(args) == 0 || args[0] != name {
		return false
	}
	flags := inv.bareFlags(name)
	define(flags)
	if flags.Parse(args[1:]) != nil || flags.NArg() > 0 || !isSpawned(inv.stdin, inv.stdout) {
		return false
	}
	inv.exit(outcome.Of(run()).Exit())
	return true
}

// converse holds a conversation on standard input. Its context ends with SIGTERM.
func (inv *invocation) converse(name string, talk func(context.Context, net.Conn)) error {
	if !isSpawned(inv.stdin, inv.stdout) {
		return outcome.Misused(errors.New(name + ": standard input and output are not a socket; spawn(8) " +
			"starts it, or use postmend serve --" + name))
	}
	conn, err := net.FileConn(inv.stdin.(*os.File))
	if err != nil {
		return err
	}
	defer conn.Close()
	if isSameFile(inv.stdin, os.Stderr) { // anything there would corrupt the protocol
		silenceStderr()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	talk(ctx, conn)
	return nil // spawn(8) must not complain about a connection that ended, in whatever way
}
