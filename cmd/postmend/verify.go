package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"postmend/filter"
	"postmend/filter/plan"
	"postmend/postfix"
)

func (inv *invocation) verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [-f SENDER] [--client-address ADDRESS] [--helo NAME]",
		Short: "Print the Authentication-Results field for the message on standard input",
		Long: `Prints the Authentication-Results field for the message on standard input: SPF, DKIM, DMARC and
ARC. Nothing is sent.

Without --client-address, the message counts as mail of this host. If it then has a seal of its arrival
(X-Postmend-Arrival), SPF is that of the sealed client, and a line "origin:" tells what is sealed.`,
		Example: `  postmend verify -f alice@example.net --client-address 192.0.2.1 \
      --helo mail.example.net < message`,
		Args: noArguments,
	}
	envelope := envelopeFlags(cmd.Flags())
	cmd.RunE = func(*cobra.Command, []string) error {
		env, err := envelope(nil)
		if err != nil {
			return err
		}
		return inv.withFilter(func(ctx context.Context, f *filter.Filter) error {
			field, origin, err := f.Verify(ctx, env, inv.stdin)
			if err != nil {
				return err
			}
			return printResults(inv.stdout, field, origin)
		})
	}
	return cmd
}

// printResults writes an Authentication-Results field, and the origin if it is sealed.
func printResults(w io.Writer, field string, origin plan.ShownOrigin) error {
	page := pageWriter{w: w}
	for line := range strings.Lines(strings.ReplaceAll(field, "\r\n", "\n")) {
		indent := ""
		if strings.HasPrefix(line, "\t") {
			indent = "\t"
		}
		page.printf("%s\n", indent+postfix.PrintableUTF8(strings.Trim(line, "\t\n")))
	}
	if origin.Sealed {
		page.printf("origin: %s\n", postfix.Printable(describe(origin)))
	}
	return page.err
}
