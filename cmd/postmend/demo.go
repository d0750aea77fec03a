package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"postmend/cmd/postmend/demo"
	"postmend/cmd/postmend/outcome"
)

func (inv *invocation) demoCommand() *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use: "demo [--verbose] [MESSAGE]",
		Short: "Show what a strict receiver sees without and with postmend; needs no Postfix, " +
			"configuration or network",
		Long: `Plays all parts in one process: a sender whose domain publishes p=reject, a forwarder, a
receiver that checks SPF, DKIM and DMARC, and DNS. The receiver gets the message forwarded unchanged, and
forwarded through postmend, each once with the sender's signature and once without. MESSAGE is a file with
a message to use instead; demo then invents a signature and DNS records for its From: domain.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return outcome.Misused(fmt.Errorf("unexpected argument %q", args[1]))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			message := []byte(demo.Message)
			if len(args) == 1 {
				var err error
				if message, err = os.ReadFile(args[0]); err != nil {
					return outcome.Misused(err)
				}
			}
			err := demo.Run(inv.stdout, message, verbose)
			if errors.Is(err, demo.ErrNoAuthor) {
				return outcome.Misused(err)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&verbose, "verbose", false, "also show the messages that leave")
	return cmd
}
