package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postmend/filter/plan"
)

func (inv *invocation) filterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "filter -f SENDER [flags] -- RECIPIENT...",
		Short: "Mend the message on standard input and hand it back (run by pipe(8))",
		Long: `Reads one message from standard input, mends it for the recipients, hands it to the
configured target, and ends with a status line on standard output and an exit status for Postfix's
pipe(8).

The flags carry macros of pipe(8), here in parentheses. An empty value, or "unknown", means that Postfix
does not know it. If it knows nothing of a client, the message comes from this host.`,
		Example: `  postmend filter -f alice@example.net -- bob@example.com < message`,
	}
	envelope := envelopeFlags(cmd.Flags())
	cmd.RunE = func(_ *cobra.Command, recipients []string) error {
		env, err := envelope(recipients)
		if err != nil {
			return err
		}
		inv.filter(env)
		return nil
	}
	return cmd
}

// filterDirectly runs a plain call from master.cf without the tree of all commands, which would cost every
// message more than parsing its flags. It is false for any other call; the tree then reports what is wrong
// with it.
func (inv *invocation) filterDirectly(args []string) bool {
	if len(args) == 0 || args[0] != "filter" {
		return false
	}
	flags := inv.bareFlags("filter")
	envelope := envelopeFlags(flags)
	if flags.Parse(args[1:]) != nil {
		return false
	}
	env, err := envelope(flags.Args())
	if err != nil {
		return false
	}
	inv.filter(env)
	return true
}

// bareFlags are the flags of a command without the tree.
func (inv *invocation) bareFlags(name string) *pflag.FlagSet {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.Usage = func() {}
	inv.configFlag(flags)
	return flags
}

// abandon ends the process while the pipeline hangs; a variable for tests.
var abandon = os.Exit

// filter runs the pipeline on one message, and makes sure that there is a status line in time, whatever
// happens.
func (inv *invocation) filter(env *plan.Envelope) {
	r := &filterRun{invocation: inv, env: env, log: inv.log(), guard: &guard{start: time.Now()}}
	line, err := r.run()
	r.guard.end()
	inv.exit(r.conclude(line, err))
}
