package main

import (
	"context"
	"net"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postmend/cmd/postmend/serve"
)

func (inv *invocation) lmtpCommand() *cobra.Command {
	var trustsORCPT bool
	cmd := &cobra.Command{
		Use:   "lmtp",
		Short: "Mend the messages of one LMTP conversation on standard input (run by spawn(8))",
		Long: `Speaks LMTP with Postfix's lmtp(8) on standard input, which has to be a socket, until the
connection is closed. It mends each message as postmend filter does, but all recipients of a message share
one run, and each gets a reply of its own.

XFORWARD is required: lmtp_send_xforward_command = yes. While the configuration cannot be used, the greeting
is 421, and the mail log has the reason. postmend serve --lmtp does the same, but stays resident.`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return inv.lmtp(trustsORCPT) },
	}
	trustFlag(cmd.Flags(), &trustsORCPT)
	return cmd
}

func trustFlag(flags *pflag.FlagSet, trustsORCPT *bool) {
	flags.BoolVar(trustsORCPT, "trust-orcpt", false, "take the alias from ORCPT; only where smtpd(8) "+
		"accepts no ORCPT from clients (smtpd_discard_ehlo_keywords = dsn)")
}

func (inv *invocation) lmtpDirectly(args []string) bool {
	var trustsORCPT bool
	return inv.spawnedDirectly(args, "lmtp",
		func(flags *pflag.FlagSet) { trustFlag(flags, &trustsORCPT) },
		func() error { return inv.lmtp(trustsORCPT) })
}

func (inv *invocation) lmtp(trustsORCPT bool) error {
	return inv.converse("lmtp", func(ctx context.Context, conn net.Conn) {
		serve.LMTP(ctx, conn, inv.serveOptions(restrain), trustsORCPT)
	})
}
