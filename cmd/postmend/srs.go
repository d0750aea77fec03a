package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"postmend/filter"
	"postmend/postfix"
	"postmend/srs"
)

func (inv *invocation) srsCommand() *cobra.Command {
	parent := &cobra.Command{
		Use:   "srs forward|reverse ADDRESS...",
		Short: "Make and reverse SRS addresses (Sender Rewriting Scheme)",
		RunE:  requireSubcommand,
	}
	parent.AddCommand(
		inv.srsDirection("forward", "Print the SRS form of each address", (*srs.Rewriter).Forward),
		inv.srsDirection("reverse", "Print the original address of each SRS address; a forged, expired or malformed one is an error (exit status 67)", (*srs.Rewriter).Reverse),
	)
	return parent
}

func (inv *invocation) srsDirection(name, short string, rewrite func(*srs.Rewriter, string) (string, error)) *cobra.Command {
	return &cobra.Command{
		Use:   name + " ADDRESS...",
		Short: short,
		RunE: func(_ *cobra.Command, addresses []string) error {
			if len(addresses) == 0 {
				return usageError{fmt.Errorf("no address given")}
			}
			config, err := filter.LoadConfig(inv.configFile)
			if err != nil {
				return err
			}
			rewriter, err := filter.NewRewriter(config, time.Now)
			if err != nil {
				return &filter.Failure{Kind: filter.Configuration, Reason: "SRS cannot be used", Err: err}
			}
			for _, address := range addresses {
				result, err := rewrite(rewriter, address)
				if err != nil {
					return &filter.Failure{Kind: filter.NoSuchUser, Reason: fmt.Sprintf("%+q", address), Err: err}
				}
				if _, err := fmt.Fprintln(inv.stdout, postfix.PrintableUTF8(result)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func requireSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())}
	}
	return usageError{fmt.Errorf("%s needs a subcommand; see: %s --help", cmd.Name(), cmd.CommandPath())}
}
