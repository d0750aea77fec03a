package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"postmend/filter"
	"postmend/postfix/postconf"
	"postmend/postfix/setup"
)

// setupOptions are the flags of setup.
type setupOptions struct {
	print, apply, undo                    bool
	postfixDir, rootDir, mode, user       string
	domain, srsDomain, selector, hostname string
}

func (inv *invocation) setupCommand() *cobra.Command {
	var o setupOptions
	cmd := &cobra.Command{
		Use:   "setup [--print | --apply | --undo]",
		Short: "Set up Postfix, keys and secrets, and print the DNS records to publish",
		Long: `Reads Postfix's configuration and finds out what postmend needs: an account, a configuration, an SRS secret, DKIM keys,
entries in master.cf and main.cf. --print, the default, shows the commands and changes nothing; --apply runs them; --undo
restores main.cf and master.cf. Keys, secrets and the configuration stay, and one that is there already is kept.`,
		Example: `  postmend setup                      # what would be done
  postmend setup --apply
  postmend setup --apply --mode transport
  postmend setup --undo`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.apply && (o.print || o.undo) {
				return usageError{errors.New("--apply goes with neither --print nor --undo")}
			}
			if o.mode != "" && o.mode != string(setup.ContentFilter) && o.mode != string(setup.Transport) {
				return usageError{fmt.Errorf("--mode %q is neither %s nor %s", o.mode, setup.ContentFilter, setup.Transport)}
			}
			var err error
			if o.undo {
				err = inv.undoSetup(&o)
			} else {
				ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
				defer stop()
				err = inv.setup(ctx, &o)
			}
			if err != nil {
				return &filter.Failure{Kind: filter.Configuration, Reason: "setup", Err: err}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.print, "print", false, "show the commands, change nothing (the default)")
	flags.BoolVar(&o.apply, "apply", false, "do it")
	flags.BoolVar(&o.undo, "undo", false, "restore main.cf and master.cf; with --print, show how")
	flags.StringVar(&o.mode, "mode", "", "content-filter (the default): filter what comes in; transport: filter whatever leaves for a remote domain")
	flags.StringVar(&o.postfixDir, "postfix-dir", "", "Postfix's configuration directory; default: Postfix's own. A second instance needs -c FILE, too")
	flags.StringVar(&o.rootDir, "root-dir", "", "for a trial run: put /etc/postmend below this folder, and make no account")
	flags.StringVar(&o.user, "user", "postmend", "the account that runs postmend")
	flags.StringVar(&o.hostname, "hostname", "", "this host's name; default: Postfix's myhostname")
	flags.StringVar(&o.domain, "domain", "", "the domain that signs forwarded mail; default: mydomain if it is delivered here, else the first domain that is")
	flags.StringVar(&o.srsDomain, "srs-domain", "", "the domain of rewritten senders; default: srs.DOMAIN")
	flags.StringVar(&o.selector, "selector", "", "the selector of new DKIM keys; default: the year and a letter, 2026a")
	return cmd
}

func (inv *invocation) setup(ctx context.Context, o *setupOptions) error {
	if o.apply && os.Geteuid() != 0 {
		return errors.New("--apply needs root")
	}
	c, err := postconf.Open(o.postfixDir)
	if err != nil {
		return err
	}
	domains, err := setup.ReadDomains(ctx, c)
	if err != nil {
		return err
	}
	state, err := setup.LoadState(c)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	home, err := inv.ownFiles(o, c, domains, program)
	if err != nil {
		return err
	}
	plan, err := setup.NewPlan(c, domains, setup.Wanted{
		Mode:       modeOf(o, c, state),
		User:       o.user,
		Program:    program,
		ConfigFile: home.configFlag(),
		Listener:   home.listener,
		SRSDomain:  strings.ToLower(home.config.SRS.Domain),
	})
	if err != nil {
		return err
	}
	if err := plan.TakesAnySRSAddress(domains); err != nil {
		return err
	}
	changes, err := plan.Steps(state)
	if err != nil {
		return err
	}
	if len(changes) > 0 && !o.apply {
		changes[0].Why = "From here on Postfix is changed, and mail passes postmend. Publish the DNS records at the end first: as long as receivers do not find them,\n" +
			"forwarded mail fails SPF and our signatures fail. Whatever is above can be run before, and --apply goes on from there.\n" + changes[0].Why
	}
	steps := home.steps()
	if len(steps)+len(changes) > 0 {
		steps = append(steps, home.trial(c, o)...)
		check := c.PostfixCommand("check")
		steps = append([]setup.Step{{Why: "is Postfix's configuration sound as it is?", Action: check}}, steps...)
	}
	if len(changes) > 0 {
		changes = thenReload(c, changes)
	}
	if !o.apply {
		steps, changes = append(steps, changes...), nil
	}
	if err := inv.carryOut(o.apply, steps); err != nil {
		return err
	}
	if len(changes) > 0 {
		if err := inv.changePostfix(ctx, c, domains, plan, home, changes); err != nil {
			return err
		}
	}
	inv.notes(plan.Notes)
	inv.notes(home.keyless(domains))
	inv.notes(notRunning(c))
	if len(changes) > 0 && o.apply {
		inv.notes([]string{"as long as receivers do not find these records, forwarded mail fails SPF and our signatures fail; postmend check tells when all is well"})
	}
	return home.printRecords(inv, c, o.apply)
}

// modeOf keeps the mode that was chosen before.
func modeOf(o *setupOptions, c *postconf.Config, state *setup.State) setup.Mode {
	switch {
	case o.mode != "":
		return setup.Mode(o.mode)
	case state != nil:
		return state.Mode
	case strings.HasPrefix(c.Get("default_transport"), "postmend:"):
		return setup.Transport
	}
	return setup.ContentFilter
}

// thenReload puts a check and a reload after changes of Postfix's files.
func thenReload(c *postconf.Config, changes []setup.Step) []setup.Step {
	steps := append(changes, setup.Step{Why: "is Postfix's configuration sound now?", Action: c.PostfixCommand("check")})
	if c.IsRunning() {
		steps = append(steps, setup.Step{Why: "running processes read the new configuration", Action: c.PostfixCommand("reload")})
	}
	return steps
}

func notRunning(c *postconf.Config) []string {
	if c.IsRunning() {
		return nil
	}
	return []string{"Postfix does not run; the configuration takes effect when it starts"}
}

func (inv *invocation) undoSetup(o *setupOptions) error {
	if !o.print && os.Geteuid() != 0 {
		return errors.New("--undo needs root")
	}
	c, err := postconf.Open(o.postfixDir)
	if err != nil {
		return err
	}
	state, err := setup.LoadState(c)
	if err != nil {
		return err
	}
	if state == nil {
		fmt.Fprintf(inv.stdout, "# Nothing to undo: postmend was not set up in %s by this command.\n", c.Dir)
		return nil
	}
	changes, notes := state.Undo(c)
	if err := inv.carryOut(!o.print, append(thenReload(c, changes), setup.Forget(c))); err != nil {
		return err
	}
	inv.notes(notRunning(c))
	inv.notes(append(notes,
		"the account, postmend's configuration, keys and secrets stay: bounces to SRS addresses that were given out need the secret if postmend is set up again",
		"mail in the queue that was on its way to postmend still waits for it; have it queued anew with: "+c.RequeueCommand().String()))
	return nil
}

// carryOut shows the steps as a shell script, and runs them if it is told to.
func (inv *invocation) carryOut(run bool, steps []setup.Step) error {
	if len(steps) == 0 {
		fmt.Fprintln(inv.stdout, "# Nothing to do: everything is set up.")
		return nil
	}
	if !run {
		fmt.Fprintln(inv.stdout, "# Nothing is changed; these are the commands. --apply runs them, and can undo what it did.")
	}
	for _, step := range steps {
		fmt.Fprintf(inv.stdout, "\n# %s\n%s\n", strings.ReplaceAll(step.Why, "\n", "\n# "), step.Action)
		if !run {
			continue
		}
		if err := step.Action.Run(); err != nil {
			return err
		}
	}
	return nil
}

func (inv *invocation) notes(notes []string) {
	for _, note := range notes {
		fmt.Fprintf(inv.stdout, "\n# Note: %s.\n", note)
	}
}

// absoluteConfig is where the configuration is, or is to be.
func (inv *invocation) absoluteConfig(o *setupOptions) (string, error) {
	path, err := filepath.Abs(inv.configFile)
	if err == nil && o.rootDir != "" {
		path, err = filepath.Abs(filepath.Join(o.rootDir, path))
	}
	return path, err
}
