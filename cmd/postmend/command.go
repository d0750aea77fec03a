package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"postmend/filter"
	"postmend/postfix"
)

// version is set by the Makefile at link time.
var version = ""

// invocation is what a command works with; only run turns its result into an exit status.
type invocation struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	configFile     string
	// status is set by a command that has reported its outcome itself.
	status *int
}

// run carries out one command line and gives the exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	inv := &invocation{stdin: stdin, stdout: stdout, stderr: stderr}
	if inv.filterDirectly(args) {
		return *inv.status
	}
	root := inv.commands()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	switch {
	case inv.status != nil:
		return *inv.status
	case err == nil:
		return 0
	}
	if isSpawned(stdin, stdout) {
		return logFailure(err)
	}
	outcome := outcomeOf(err)
	text := firstLine(err.Error())
	if outcome == postfix.Misused && !isTerminal(stdout) {
		// A slip in master.cf must not bounce mail, whichever command it names.
		return outcome.Report(stdout, "", text)
	}
	fmt.Fprintln(stderr, "postmend: "+text)
	return outcome.Exit()
}

// logFailure is for where there is nobody to tell: spawn(8) has the exit status, and Postfix, which finds its connection closed, defers.
func logFailure(err error) int {
	syslog{socket: "/dev/log"}.write(severityOf(err), "NOQUEUE: "+firstLine(err.Error()))
	return outcomeOf(err).Exit()
}

// usageError is a fault in the words of the command line.
type usageError struct{ error }

// outcomeOf is the one place where our errors meet Postfix's contract.
func outcomeOf(err error) postfix.Outcome {
	if err == nil {
		return postfix.Delivered
	}
	var usage usageError
	if errors.As(err, &usage) {
		return postfix.Misused
	}
	switch filter.AsFailure(err).Kind {
	case filter.Configuration:
		return postfix.Misconfigured
	case filter.Usage:
		return postfix.Misused
	case filter.NoSuchUser:
		return postfix.NoSuchUser
	case filter.BadMessage:
		return postfix.BadMessage
	case filter.Policy:
		return postfix.Refused
	}
	return postfix.Deferred
}

func (inv *invocation) commands() *cobra.Command {
	root := &cobra.Command{
		Use:   "postmend",
		Short: "Mends forwarded mail so that it passes SPF, DKIM and DMARC at the next hop",
		Long: `postmend is a content filter for Postfix. pipe(8) starts it for a message; it rewrites the sender by SRS, adds a DKIM signature, and
hands the message back to Postfix.

Try it without Postfix and without a configuration:  postmend demo`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q; postmend --help lists them", args[0])}
			}
			return usageError{errors.New("no command given; postmend --help lists them")}
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	inv.configFlag(root.PersistentFlags())
	root.AddCommand(
		inv.filterCommand(),
		inv.explainCommand(),
		inv.verifyCommand(),
		inv.srsCommand(),
		inv.lookupCommand(),
		inv.dkimCommand(),
		inv.reportCommand(),
		inv.setupCommand(),
		inv.checkCommand(),
		inv.demoCommand(),
		inv.versionCommand(),
	)
	return root
}

func (inv *invocation) configFlag(flags *pflag.FlagSet) {
	flags.StringVarP(&inv.configFile, "config", "c", filter.DefaultConfigFile, "configuration file")
}

func (inv *invocation) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			v := version
			if info, ok := debug.ReadBuildInfo(); ok && v == "" {
				v = info.Main.Version
			}
			_, err := fmt.Fprintln(inv.stdout, "postmend", v)
			return err
		},
	}
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", args[0])}
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// isTerminal tells whether a person reads w.
func isTerminal(w any) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
