package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postmend/dkim"
	"postmend/filter/authn"
	"postmend/filter/cause"
	"postmend/filter/config"
	"postmend/filter/message"
	"postmend/postfix"
)

func (inv *invocation) dkimVerifyCommand() *cobra.Command {
	var resolver string
	cmd := &cobra.Command{
		Use:   "verify [--resolver HOST:PORT]",
		Short: "Verify the DKIM signatures of the message on standard input",
		Long: `Prints a line for each signature, from top to bottom: the result in RFC 8601's words, d=, s=,
a=, and why it is not a pass. The exit status is 0 if a signature passes, 75 if none does and DNS did not
answer for one of them, else 1.

The DNS server is the one that --resolver or the configuration names, otherwise the system's.`,
		Example: `  postmend dkim verify < message`,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			server, deadline, err := inv.dns(resolver)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(context.Background(), deadline)
			defer cancel()
			verdicts, err := message.Verify(ctx, inv.stdin, authn.New(server))
			if errors.Is(err, message.ErrOversized) {
				return &cause.Failure{Kind: cause.BadMessage, Reason: err.Error()}
			}
			if err != nil {
				return err
			}
			return inv.tellVerdicts(verdicts)
		},
	}
	cmd.Flags().StringVar(&resolver, "resolver", "",
		"the DNS server, host:port; default: the configuration's, else the system's")
	return cmd
}

// dns gives the DNS server to ask, "" for the system's, and how long that may take. It needs no configuration
// unless -c names one.
func (inv *invocation) dns(resolver string) (server string, deadline time.Duration, err error) {
	const enough = 10 * time.Second // the configuration's default
	if resolver != "" {
		return resolver, enough, nil
	}
	if _, err := os.Stat(inv.configFile); inv.configFile == config.DefaultFile &&
		errors.Is(err, fs.ErrNotExist) {
		return "", enough, nil
	}
	settings, err := config.Load(inv.configFile)
	if err != nil {
		return "", 0, err
	}
	return settings.Resolver, time.Duration(settings.Limits.DNSDeadline), nil
}

// tellVerdicts prints them, and gives the exit status.
func (inv *invocation) tellVerdicts(verdicts []dkim.Verification) error {
	var text strings.Builder
	met := map[dkim.Status]bool{}
	for _, v := range verdicts {
		met[v.Status] = true
		line := fmt.Sprintf("%s d=%s s=%s a=%s", v.Status, v.Domain, v.Selector, v.Algorithm)
		if v.Reason != "" {
			line += " (" + v.Reason + ")"
		}
		text.WriteString(postfix.Printable(line) + "\n")
	}
	if len(verdicts) == 0 {
		text.WriteString("none (the message has no signature)\n")
	}
	if _, err := io.WriteString(inv.stdout, text.String()); err != nil {
		return err
	}
	switch {
	case met[dkim.Pass]:
		return nil
	case met[dkim.TempError]:
		return &cause.Failure{Reason: "DNS did not answer; try again later"}
	}
	inv.exit(1)
	return nil
}
