package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postmend/cmd/postmend/outcome"
	"postmend/cmd/postmend/start"
	"postmend/cmd/postmend/syslog"
	"postmend/filter"
	"postmend/filter/config"
	"postmend/postfix"
)

// invocation is what a command works with; only run turns its result into an exit status.
type invocation struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	configFile     string
	status         *int // see exit
}

// exit is for a command that has reported its outcome itself.
func (inv *invocation) exit(status int) { inv.status = &status }

// run carries out one command line and gives the exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	inv := &invocation{stdin: stdin, stdout: stdout, stderr: stderr}
	if inv.filterDirectly(args) || inv.milterDirectly(args) || inv.lmtpDirectly(args) {
		return *inv.status
	}
	root := inv.commands()
	// Not a flag: among other arguments, it would exit with 0, and mail would be lost.
	if slices.Equal(args, []string{"--version"}) {
		args = []string{"version"}
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteC()
	switch {
	case inv.status != nil:
		return *inv.status
	case err == nil:
		return 0
	}
	if isSpawned(stdin, stdout) {
		return logFailure(err)
	}
	end := outcome.Of(err)
	if end == postfix.Misused && inv.mayBePiped(cmd) {
		return end.Write(stdout, "", firstLine(err.Error()))
	}
	fmt.Fprintln(stderr, "postmend: "+postfix.PrintableUTF8(inv.told(err)))
	return end.Exit()
}

// mayBePiped tells whether pipe(8) may have started us: then a mistake in master.cf must not bounce mail,
// whichever command it names, or misspells. It is true for filter unless there is a terminal; and for
// anything else if standard output and standard error are one pipe, as under pipe(8).
func (inv *invocation) mayBePiped(cmd *cobra.Command) bool {
	if isTerminal(inv.stdin) || isTerminal(inv.stdout) || isTerminal(inv.stderr) {
		return false
	}
	return cmd.Name() == "filter" || isPipe(inv.stdout) && isSameFile(inv.stdout, inv.stderr)
}

// told is the text of an error for a person. Only filter and lookup have a log, so it includes the cause.
func (inv *invocation) told(err error) string {
	text := firstLine(err.Error())
	var missing *fs.PathError
	if errors.As(err, &missing) && errors.Is(err, fs.ErrNotExist) && missing.Path == inv.configFile {
		text += "; -c FILE names another, postmend setup --prepare makes one"
	}
	return text
}

// logFailure is for what spawn(8) starts: nobody reads its standard error; spawn(8) gets the exit status, and
// Postfix, whose connection is closed, defers.
func logFailure(err error) int {
	syslog.Log{Socket: config.DefaultLogSocket}.Write(outcome.Severity(err),
		"NOQUEUE: "+firstLine(err.Error()))
	return outcome.Of(err).Exit()
}

// log is the mail log, until a configuration has been read, which names its socket. On a terminal, a person
// sees the lines, too.
func (inv *invocation) log() syslog.Log {
	log := syslog.Log{Socket: config.DefaultLogSocket}
	if isTerminal(inv.stderr) {
		log.Also = inv.stderr
	}
	return log
}

func (inv *invocation) commands() *cobra.Command {
	root := &cobra.Command{
		Use:   "postmend",
		Short: "Mends forwarded mail so that it passes SPF, DKIM and DMARC at the next hop",
		Long: `postmend is a content filter for Postfix that mends forwarded mail. pipe(8) starts it for each
message; it rewrites the sender by SRS, adds a DKIM signature and an ARC set, rewrites From: if nothing else
would pass DMARC, and hands the message back to Postfix.

To see it work, without Postfix and without a configuration: postmend demo. To set it up: postmend setup.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			if cmd.Name() != lookupName { // which answers one query after the other
				start.AllProcessors()
			}
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && isTerminal(inv.stdout) {
				return cmd.Help()
			}
			if len(args) > 0 {
				return outcome.Misused(fmt.Errorf("unknown command %q; postmend --help lists them", args[0]))
			}
			return outcome.Misused(errors.New("no command given; postmend --help lists them"))
		},
	}
	root.SetHelpFunc(inv.help)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return outcome.Misused(err) })
	inv.configFlag(root.PersistentFlags())
	root.AddCommand(
		inv.filterCommand(),
		inv.explainCommand(),
		inv.verifyCommand(),
		inv.srsCommand(),
		inv.lookupCommand(),
		inv.milterCommand(),
		inv.lmtpCommand(),
		inv.serveCommand(),
		inv.dkimCommand(),
		inv.reportCommand(),
		inv.setupCommand(),
		inv.checkCommand(),
		inv.demoCommand(),
		inv.versionCommand(),
	)
	return root
}

// help refuses to be called by a stray word in master.cf: pipe(8) takes its exit status 0 for a delivery, and
// through spawn(8) it would be read as an answer.
func (inv *invocation) help(cmd *cobra.Command, args []string) {
	const stray = "--help among other arguments"
	switch {
	case isSpawned(inv.stdin, inv.stdout):
		inv.exit(logFailure(outcome.Misused(errors.New(cmd.Name() + ": " + stray))))
	case cmd.Name() == "filter" && !isTerminal(inv.stdout) && len(args) > 2:
		inv.exit(postfix.Misused.Write(inv.stdout, "", stray))
	default:
		new(cobra.Command).HelpFunc()(cmd, args)
	}
}

// withFilter makes the configuration ready for one use, under its deadline.
func (inv *invocation) withFilter(use func(context.Context, *filter.Filter) error) error {
	settings, err := config.Load(inv.configFile)
	if err != nil {
		return err
	}
	f, err := filter.New(settings, filter.Options{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(settings.Limits.Deadline))
	defer cancel()
	return use(ctx, f)
}

func (inv *invocation) configFlag(flags *pflag.FlagSet) {
	flags.StringVarP(&inv.configFile, "config", "c", config.DefaultFile, "configuration file")
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return outcome.Misused(fmt.Errorf("unexpected argument %q", args[0]))
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func requireSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return outcome.Misused(fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath()))
	}
	return outcome.Misused(fmt.Errorf("%s needs a subcommand; see: %s --help", cmd.Name(), cmd.CommandPath()))
}
