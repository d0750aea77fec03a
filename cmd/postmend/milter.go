package main

import (
	"context"
	"net"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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

func (inv *invocation) milterDirectly(args []string) bool {
	return inv.spawnedDirectly(args, "milter", func(*pflag.FlagSet) {}, inv.milter)
}

// milter holds a conversation. SIGTERM ends it behind the message that is under way.
func (inv *invocation) milter() error {
	return inv.converse("milter", func(ctx context.Context, conn net.Conn) {
		serve.Milter(ctx, conn, inv.serveOptions(restrain))
	})
}
