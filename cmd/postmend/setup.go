package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"postmend/cmd/postmend/outcome"
	"postmend/filter/authn"
	"postmend/filter/cause"
	"postmend/filter/config"
	"postmend/postfix"
	"postmend/postfix/layout"
	"postmend/postfix/postconf"
	"postmend/postfix/setup"
)

// setupOptions are the flags of setup.
type setupOptions struct {
	setup.Options
	print, prepare, apply, undo, verbose bool
	noDNS                                bool
	mode, rootDir                        string
	given                                string // the flags that the next command needs, too
}

func (inv *invocation) setupCommand() *cobra.Command {
	var o setupOptions
	cmd := &cobra.Command{
		Use:   "setup [--prepare | --apply | --undo] [--print]",
		Short: "Set up Postfix, keys and secrets, and print the DNS records to publish",
		Long: `Reads Postfix's configuration and determines what postmend needs: an account, a
configuration, an SRS secret, DKIM keys, entries in master.cf and main.cf. Without a flag it lists what is
missing, and changes nothing.

--prepare makes the account, keys, secret and configuration; Postfix stays as it is. Publish the DNS
records that it prints. --apply does the same, then changes Postfix, tests it with a few addresses, and
reverts its changes if an answer is wrong. --undo restores main.cf and master.cf, and keeps the keys,
secrets and configuration. Existing files are kept; keys and secrets that an existing configuration names
are made if they are missing.

A new set-up gets the milter, and transport mode, which filters all mail that leaves for a remote domain,
forwards of alias(5) and .forward included. Where other settings would lead mail past a transport, it gets
content-filter mode instead. setup says which mode it chose, and why. To change the mode, undo first.

With --lmtp, Postfix hands messages to postmend by LMTP, so that all recipients of a message share one run:
with --lmtp=spawn to a process that is started for each connection, otherwise to postmend serve. serve needs
the configuration that --prepare makes, and has to run before --apply.`,
		Example: `  postmend setup                      # what would be done
  postmend setup --prepare            # everything but Postfix; prints the DNS records
  postmend setup --apply
  postmend setup --undo`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(inv.configFile); err != nil {
				return err
			}
			o.given = givenFlags(cmd)
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
			defer stop()
			var err error
			if o.undo {
				err = inv.undoSetup(&o)
			} else {
				err = inv.setup(ctx, &o)
			}
			if err != nil {
				return &cause.Failure{Kind: cause.Configuration, Reason: "setup", Err: err}
			}
			return nil
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *setupOptions) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&o.prepare, "prepare", false,
		"make account, keys, secret and configuration; leave Postfix alone")
	flags.BoolVar(&o.apply, "apply", false, "do everything")
	flags.BoolVar(&o.undo, "undo", false, "restore main.cf and master.cf")
	flags.BoolVar(&o.print, "print", false, "show the commands as a shell script, change nothing")
	flags.BoolVar(&o.verbose, "verbose", false, "show the commands as they are run")
	flags.BoolVar(&o.noDNS, "no-dns", false, "do not ask DNS which records are published already")
	flags.StringVar(&o.mode, "mode", "",
		"content-filter: filter what comes in; transport: filter all mail that leaves for a remote domain. "+
			"Default: what this Postfix needs")
	flags.StringVar(&o.Milter, "milter", "",
		"judge mail at SMTP time by a milter that spawn(8) starts, the default for a new set-up, or by a "+
			"resident one: --milter=unix:postmend/milter")
	flags.Lookup("milter").NoOptDefVal = setup.Spawned
	flags.BoolVar(&o.NoMilter, "no-milter", false, "do not judge mail at SMTP time")
	flags.StringVar(&o.LMTP, "lmtp", "",
		"hand messages to postmend serve --lmtp at this address, which has to run: inet:127.0.0.1:10025; "+
			"or, with spawn, to a process that spawn(8) starts for each connection. Default: what is set "+
			"up, or else pipe(8), which starts postmend for each message")
	flags.StringVar(&o.PostfixDir, "postfix-dir", "",
		"Postfix's configuration directory; default: Postfix's own. A second instance needs -c FILE, too")
	flags.StringVar(&o.rootDir, "root-dir", "",
		"for a trial run: put /etc/postmend below this directory, and make no account")
	flags.StringVar(&o.User, "user", layout.User, "the account that runs postmend")
	flags.StringVar(&o.Hostname, "hostname", "", "this host's name; default: Postfix's myhostname")
	flags.StringVar(&o.Domain, "domain", "",
		"the domain that signs forwarded mail; default: mydomain if it is delivered here, else the domain "+
			"that the hostname is in, else the first one")
	flags.StringVar(&o.SRSDomain, "srs-domain", "", "the domain of rewritten senders; default: srs.DOMAIN")
	flags.StringVar(&o.Selector, "selector", "",
		"the selector of new DKIM keys; default: the year and a letter, 2026a")
	flags.StringVar(&o.TrustedNetworks, "trusted-networks", "",
		"the clients whose mail is your own, separated by commas; default: Postfix's mynetworks")
}

// complete checks the flags, and finds out what they leave open.
func (o *setupOptions) complete(configFile string) error {
	chosen := 0
	for _, is := range []bool{o.prepare, o.apply, o.undo} {
		if is {
			chosen++
		}
	}
	o.Mode, o.Trial = setup.Mode(o.mode), o.rootDir != ""
	switch {
	case o.NoMilter && o.Milter != "":
		return outcome.Misused(errors.New("use only one of --milter and --no-milter"))
	case chosen > 1:
		return outcome.Misused(errors.New("use only one of --prepare, --apply and --undo"))
	case o.mode != "" && o.Mode != setup.ContentFilter && o.Mode != setup.Transport:
		return outcome.Misused(fmt.Errorf("--mode %q: it must be %s or %s", o.mode, setup.ContentFilter,
			setup.Transport))
	case chosen == 1 && !o.print && os.Geteuid() != 0:
		return outcome.Misused(errors.New("only root can do that; to see what it would do, run it " +
			"with --print"))
	}
	var err error
	if o.ConfigFile, err = filepath.Abs(configFile); err == nil && o.rootDir != "" {
		o.ConfigFile, err = filepath.Abs(filepath.Join(o.rootDir, o.ConfigFile))
	}
	if err == nil {
		o.Program, err = os.Executable()
	}
	return err
}

func (inv *invocation) setup(ctx context.Context, o *setupOptions) error {
	s, err := setup.Open(ctx, o.Options)
	if err != nil {
		return fmt.Errorf("%w. Nothing has been changed", err)
	}
	if o.print {
		return inv.printScript(s, o)
	}
	page := pageWriter{w: inv.stdout}
	ownDone, postfixDone := s.IsDone()
	run := func(steps []setup.Step) error { return inv.run(ctx, o, steps) }
	switch {
	case ownDone && (postfixDone || o.prepare):
		page.printf("Nothing to do: %s\n",
			map[bool]string{true: "everything is set up.", false: "postmend is prepared."}[postfixDone])
	case !o.prepare && !o.apply:
		page.printf("Nothing has been changed. This is missing (--print shows the commands):\n%s\n",
			strings.Join(s.Summary(true), "\n"))
	default:
		page.printf("%s\n", strings.Join(s.Summary(o.apply), "\n"))
		if err := run(s.PrepareSteps()); err != nil {
			return fmt.Errorf("%w. Postfix has not been changed; what was made for postmend stays, and the "+
				"next run uses it", err)
		}
		if o.prepare {
			page.printf("postmend is prepared. Postfix has not been changed.\n")
			break
		}
		if postfixDone {
			break
		}
		asked, err := s.Change(ctx, run)
		if err != nil {
			return err
		}
		page.printf("Mail that arrives from now on passes postmend. %s.\n", asked)
		page.printf("For mail that is in the queue already: %s\n", s.RequeueCommand())
	}
	for _, note := range s.Notes(o.verbose) {
		page.printf("Note: %s.\n", note)
	}
	const patience = 5 * time.Second
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	records, err := s.Records(asking, o.resolver())
	if err != nil {
		return err
	}
	page.printf("\n%s\n", strings.Join(shownRecords(records), "\n"))
	page.printf("\n%s\n", next(o, ownDone, postfixDone, len(records.Lines) > 0))
	return page.err
}

// resolver is the one that check would ask; nil if DNS is not to be asked.
func (o *setupOptions) resolver() setup.Resolver {
	if o.noDNS {
		return nil
	}
	address := ""
	if settings, err := config.Load(o.ConfigFile); err == nil {
		address = settings.Resolver
	}
	return authn.New(address)
}

// shownRecords are the lines of a zone file that are still to be published.
func shownRecords(records setup.Records) []string {
	published := ""
	if records.Published > 0 {
		published = "; " + postfix.Counted(records.Published, "further record") + " found in DNS"
	}
	if records.Lines == nil {
		return []string{"; all DNS records are published; postmend check tells whether they are right"}
	}
	lines := append([]string{"; DNS records to publish"}, records.Lines...)
	if published != "" {
		lines = append(lines, published)
	}
	return lines
}

// givenFlags are the flags of a command line, as they go into the next one.
func givenFlags(cmd *cobra.Command) string {
	var words postconf.Command
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" {
			words = append(words, "--"+f.Name, f.Value.String())
		}
	})
	if words == nil {
		return ""
	}
	return " " + words.String()
}

// forCheck are the flags of check that name this Postfix and this configuration.
func (o *setupOptions) forCheck() string {
	var words postconf.Command
	if o.ConfigFile != config.DefaultFile {
		words = append(words, "-c", o.ConfigFile)
	}
	if o.PostfixDir != "" {
		words = append(words, "--postfix-dir", o.PostfixDir)
	}
	return strings.TrimSuffix(" "+words.String(), " ")
}

// next tells what comes next.
func next(o *setupOptions, ownDone, postfixDone, isMissing bool) string {
	apply := "postmend setup --apply" + o.given
	check := "postmend check" + o.forCheck()
	publish := "run " + check
	if isMissing {
		publish = "publish these records, wait until the name servers have them, and run " + check
	}
	switch {
	case (o.apply || ownDone && postfixDone) && isMissing:
		return "Next: publish these records, then run " + check + ". Until receivers find them, SPF or " +
			"DKIM of the mail that needs them fails."
	case o.apply || ownDone && postfixDone:
		return "Next: " + check
	case o.prepare || ownDone:
		return "Next: " + publish + ". When it finds nothing wrong: " + apply
	}
	return "Next: postmend setup --prepare" + o.given + ", which leaves Postfix alone"
}

// printScript shows what would be done as a shell script. Its records can be pasted, too.
func (inv *invocation) printScript(s *setup.Setup, o *setupOptions) error {
	page := pageWriter{w: inv.stdout}
	steps, changes := s.PrepareSteps(), s.ChangeSteps()
	if o.prepare {
		changes = nil
	}
	if len(changes) > 0 && !o.apply {
		changes[0].Why = "From here on, the commands change Postfix, and mail passes postmend. First " +
			"publish the DNS records\nbelow: until receivers find them, forwarded mail fails SPF and your " +
			"signatures fail. The commands\nabove can run before that.\n" +
			changes[0].Why
	}
	if len(steps)+len(changes) == 0 {
		page.printf("# Nothing to do: everything is set up.\n")
	} else {
		page.printf("# Nothing is changed; these are the commands. --apply runs them, and reverts them if " +
			"Postfix does not answer correctly.\n")
	}
	page.script(append(steps, changes...))
	for _, note := range s.Notes(true) {
		page.printf("\n# Note: %s.\n", note)
	}
	records, err := s.Records(context.Background(), nil)
	if err != nil {
		return err
	}
	page.printf("\ncat <<'END'\n%s\nEND\n", strings.Join(shownRecords(records), "\n"))
	return page.err
}

func (inv *invocation) undoSetup(o *setupOptions) error {
	undoing, err := setup.OpenUndo(o.PostfixDir, o.ConfigFile, o.User)
	if err != nil {
		return err
	}
	page := pageWriter{w: inv.stdout}
	switch {
	case undoing.Steps == nil:
		page.printf("# Nothing to undo: postmend was not set up in %s by this command.\n", undoing.Dir)
		return page.err
	case o.print:
		page.script(undoing.Steps)
	default:
		if err := inv.run(context.Background(), o, undoing.Steps); err != nil {
			return err
		}
		page.printf("# main.cf and master.cf in %s no longer use postmend.\n", undoing.Dir)
	}
	for _, note := range undoing.Notes {
		page.printf("# Note: %s.\n", note)
	}
	if undoing.Kept != nil {
		page.printf("# These stay (docs/postfix.md, \"Leaving\", tells when they can go):\n#   %s\n",
			strings.Join(undoing.Kept, "\n#   "))
	}
	return page.err
}

// run carries out steps, one after the other.
func (inv *invocation) run(ctx context.Context, o *setupOptions, steps []setup.Step) error {
	for _, step := range steps {
		if o.verbose {
			page := pageWriter{w: inv.stdout}
			page.script([]setup.Step{step})
		}
		if err := ctx.Err(); err != nil {
			return errors.New("interrupted")
		}
		if err := step.Action.Run(); err != nil {
			return fmt.Errorf("%w (%s)", err, strings.ReplaceAll(step.Why, "\n", "; "))
		}
	}
	return nil
}

func (p *pageWriter) script(steps []setup.Step) {
	for _, step := range steps {
		p.printf("\n# %s\n%s\n", strings.ReplaceAll(step.Why, "\n", "\n# "), step.Action)
	}
}
