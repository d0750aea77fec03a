package main

import (
	"github.com/spf13/cobra"

	"postmend/cmd/postmend/serve"
	"postmend/filter"
)

func (inv *invocation) serveCommand() *cobra.Command {
	var r serve.Resident
	cmd := &cobra.Command{
		Use:   "serve [--milter ADDRESS] [--lmtp ADDRESS]",
		Short: "Stay resident on a busy server: judge mail at SMTP time, filter mail by LMTP",
		Long: `Does what postmend milter and postmend filter do, in one process for all messages. ADDRESS
is inet:HOST:PORT, for LMTP on loopback, or unix:PATH. A socket that systemd has opened at that address is
used. Without an address, it serves all sockets that systemd has opened, by their FileDescriptorName,
milter or lmtp.

By LMTP, all recipients of a message share one run, and each gets a reply of its own. XFORWARD is
required: lmtp_send_xforward_command = yes.

SIGHUP, or a change of a file, reads the configuration, keys and secrets again; if the configuration is
not valid, the old one stays in use. On SIGTERM, it finishes the messages that are under way, and ends. It
runs as the account of the filter, without privileges.`,
		Example: `  postmend serve --milter inet:127.0.0.1:10028 --lmtp inet:127.0.0.1:10025
  postmend serve --milter unix:/var/spool/postfix/postmend/milter`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			r.Options = inv.serveOptions(confineForGood)
			return r.Run()
		},
	}
	cmd.Flags().StringVar(&r.Milter, "milter", "", "where to serve milter conversations")
	cmd.Flags().StringVar(&r.LMTP, "lmtp", "",
		"where to serve LMTP, as content_filter or default_transport")
	trustFlag(cmd.Flags(), &r.TrustsORCPT)
	return cmd
}

// serveOptions are those of every server; confine is for its filter.
func (inv *invocation) serveOptions(confine func(*filter.Filter)) serve.Options {
	return serve.Options{ConfigFile: inv.configFile, Log: inv.log(), Now: now, Confine: confine}
}

// confineForGood confines a resident process. main sets it, as restrain.
var confineForGood = func(*filter.Filter) {}
