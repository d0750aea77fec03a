package main

import (
	"context"
	"errors"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postmend/cmd/postmend/outcome"
	"postmend/cmd/postmend/serve"
)

func (inv *invocation) milterCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "milter",
		Short: "Judge mail at SMTP time: one milter conversation on standard input (run by spawn(8))",
		Long: `Speaks the milter protocol with smtpd(8) on standard input, which has to be a socket, until
the connection is closed.

At the end of a message from outside, it checks SPF, DKIM, ARC and DMARC. It rejects unauthenticated mail
whose From: claims a domain of this server (on_own_domain_forgery), and mail that fails DMARC if
on_dmarc_fail is "reject". Other mail gets an Authentication-Results field and a seal of its arrival,
which postmend filter believes. Fields that falsely claim to be of this server are removed from all mail.

If a message cannot be judged because of a fault on this server, it goes on as it is, and the mail log
says why. postmend serve --milter does the same, but stays resident.`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return inv.milter() },
	}
}

// milterDirectly is filterDirectly for a conversation.
func (inv *invocation) milterDirectly(args []string) bool {
	if len(args) == 0 || args[0] != "milter" {
		return false
	}
	flags := pflag.NewFlagSet("milter", pflag.ContinueOnError)
	flags.Usage = func() {}
	inv.configFlag(flags)
	if flags.Parse(args[1:]) != nil || flags.NArg() > 0 || !isSpawned(inv.stdin, inv.stdout) {
		return false
	}
	inv.exit(outcome.Of(inv.milter()).Exit())
	return true
}

// milter holds a conversation on standard input. SIGTERM ends it behind the message that is under way.
func (inv *invocation) milter() error {
	if !isSpawned(inv.stdin, inv.stdout) {
		return outcome.Misused(errors.New("milter: standard input and output are not a socket; spawn(8) " +
			"starts it, or use postmend serve --milter"))
	}
	conn, err := inv.spawned()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	serve.Milter(ctx, conn, inv.serveOptions(restrain))
	return nil // spawn(8) must not complain about a connection that ended, in whatever way
}
