package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postmend/cmd/postmend/outcome"
	"postmend/filter"
	"postmend/filter/cause"
	"postmend/filter/config"
	"postmend/postfix"
	"postmend/srs/store"
)

func (inv *invocation) srsCommand() *cobra.Command {
	parent := &cobra.Command{
		Use:   "srs forward|reverse|list|prune",
		Short: "Make and reverse SRS addresses (Sender Rewriting Scheme), and show the store of senders",
		RunE:  requireSubcommand,
	}
	parent.AddCommand(
		inv.srsDirection("forward", "Print the SRS address of each sender",
			`Prints the SRS address that each sender gets if mail from it is forwarded. A sender that does
not fit into an SRS address gets an alias, and is stored; without a store, it is an error.`,
			(*filter.Filter).SRSAddress),
		inv.srsDirection("reverse",
			"Print the original address of each SRS address; forged and expired ones are errors",
			`Prints the original address of each SRS address of this server. A forged, expired or malformed
one is an error, with exit status 67.`, (*filter.Filter).SRSOriginal),
		inv.srsListCommand(),
		inv.srsPruneCommand(),
	)
	return parent
}

func (inv *invocation) srsDirection(
	name, short, long string, rewrite func(*filter.Filter, string) (string, error),
) *cobra.Command {
	return &cobra.Command{
		Use:   name + " ADDRESS...",
		Short: short,
		Long:  long,
		RunE: func(_ *cobra.Command, addresses []string) error {
			if len(addresses) == 0 {
				return outcome.Misused(fmt.Errorf("no address given"))
			}
			return inv.withFilter(func(_ context.Context, f *filter.Filter) error {
				for _, address := range addresses {
					result, err := rewrite(f, address)
					if err != nil {
						return unrewritten(address, err)
					}
					_, err = fmt.Fprintln(inv.stdout, postfix.PrintableUTF8(result))
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

// unrewritten is the error about an address that has no SRS form or is none of ours; one that may end by
// itself stays as it is.
func unrewritten(address string, err error) error {
	failure, ok := errors.AsType[*cause.Failure](err)
	switch {
	case ok && failure.Temporary():
		return failure
	case ok && failure.Err != nil:
		err = failure.Err // says more
	}
	quoted := fmt.Sprintf("%+q", address)
	if strings.HasSuffix(err.Error(), quoted) { // the address is told once
		return &cause.Failure{Kind: cause.NoSuchUser, Reason: err.Error()}
	}
	return &cause.Failure{Kind: cause.NoSuchUser, Reason: quoted, Err: err}
}

// withStore opens the store of the configuration for one use.
func (inv *invocation) withStore(use func(store.Store) error) error {
	settings, err := config.Load(inv.configFile)
	if err != nil {
		return err
	}
	if settings.SRS.Store == "" {
		return cause.ConfigInvalid.Failure(fmt.Errorf("%s: srs: store is not set", inv.configFile))
	}
	senders, err := store.Open(settings.SRS.StoreOptions(time.Now))
	if err != nil {
		return err
	}
	if err := use(senders); err != nil {
		return cause.StoreFailed.Failure(err)
	}
	return nil
}

// listTime is for all answers of a store together. A million senders take some seconds.
const listTime = 10 * time.Minute

func (inv *invocation) srsListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Print the stored senders, one a line: the day and the token of the alias, and the sender",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			return inv.withStore(inv.listSenders)
		},
	}
}

func (inv *invocation) listSenders(senders store.Store) error {
	ctx, cancel := context.WithTimeout(context.Background(), listTime)
	defer cancel()
	out := bufio.NewWriter(inv.stdout)
	damaged := 0
	err := senders.List(ctx, func(e store.Entry) error {
		if e.Err != nil {
			damaged++
			_, err := fmt.Fprintln(inv.stderr, "postmend: "+postfix.PrintableUTF8(e.Err.Error()))
			return err
		}
		day := time.Unix(e.Key.Day*86400, 0).UTC().Format(time.DateOnly)
		_, err := fmt.Fprintln(out, day, e.Key.Token, postfix.PrintableUTF8(e.Sender))
		return err
	})
	if err = errors.Join(err, out.Flush()); err == nil && damaged > 0 {
		err = fmt.Errorf("entries that cannot be read: %d", damaged)
	}
	return err
}

func (inv *invocation) srsPruneCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "prune",
		Short: "Remove the stored senders whose aliases have expired, which forwarding does by itself, too",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			return inv.withStore(func(senders store.Store) error {
				removed, err := senders.Prune(context.Background())
				if err == nil {
					_, err = fmt.Fprintf(inv.stdout, "%d removed\n", removed)
				}
				return err
			})
		},
	}
}
