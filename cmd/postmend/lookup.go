package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"postmend/cmd/postmend/outcome"
	"postmend/cmd/postmend/serve"
	"postmend/postfix"
)

const lookupName = "lookup"

func (inv *invocation) lookupCommand() *cobra.Command {
	var protocol string
	cmd := &cobra.Command{
		Use: lookupName + " forward|reverse",
		Short: "Serve a lookup table of SRS addresses to Postfix on standard input and output (run by " +
			"spawn(8))",
		Long: `Answers Postfix's queries to a lookup table, one after the other, until the connection is
closed.

forward answers with the SRS address of a sender. It answers "not found" for the null sender, local
senders, SRS addresses of this server, and senders that do not fit into an SRS address, unless [srs] store
is set: Postfix does not rewrite these. reverse answers with the original sender of a valid SRS address of
this server, and "not found" for anything else.

While the configuration or a secret cannot be used, the answer is "try later", and the mail log has the
reason. Changes of these files take effect with the next query.

A connection that was idle for 30 minutes is closed. spawn(8) ends each connection after its time limit
(command_time_limit, 1000s); Postfix then opens a new one and asks again.`,
		Example: `  postmap -q 'SRS0=vmyz=2W=example.net=alice@srs.example.org' tcp:127.0.0.1:10002`,
		RunE: func(_ *cobra.Command, args []string) error {
			ask := map[string]serve.Protocol{
				"tcp": postfix.ServeTCP, "socketmap": postfix.ServeSocketmap,
			}[protocol]
			if ask == nil {
				return outcome.Misused(fmt.Errorf("--protocol %q: it must be tcp or socketmap", protocol))
			}
			if len(args) != 1 || args[0] != "forward" && args[0] != "reverse" {
				return outcome.Misused(errors.New("lookup needs one argument: forward or reverse"))
			}
			return inv.lookup(args[0], ask)
		},
	}
	cmd.Flags().StringVar(&protocol, "protocol", "tcp", "tcp, as in tcp_table(5), or socketmap, as in "+
		"socketmap_table(5); the name of the map does not matter")
	return cmd
}

// lookup serves a table until there are no more queries, the connection was idle for too long, or SIGTERM
// arrives.
func (inv *invocation) lookup(direction string, ask serve.Protocol) error {
	table := serve.Table{Options: inv.serveOptions(nil), Direction: direction}
	if !isSpawned(inv.stdin, inv.stdout) {
		return ask(inv.stdin, inv.stdout, table.Answer)
	}
	return inv.converse("lookup", func(ctx context.Context, conn net.Conn) {
		table.Converse(ctx, conn, ask)
	})
}
