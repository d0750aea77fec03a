package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"postmend/cmd/postmend/outcome"
	"postmend/dkim"
	"postmend/filter/config"
	"postmend/filter/message"
	"postmend/postfix/wholefile"
)

func (inv *invocation) dkimCommand() *cobra.Command {
	parent := &cobra.Command{
		Use:   "dkim genkey|record|sign|verify",
		Short: "Make DKIM keys, print their DNS records, sign or verify a message",
		RunE:  requireSubcommand,
	}
	parent.AddCommand(inv.dkimGenkeyCommand(), inv.dkimRecordCommand(), inv.dkimSignCommand(),
		inv.dkimVerifyCommand())
	return parent
}

func (inv *invocation) dkimGenkeyCommand() *cobra.Command {
	var domain, selector, algorithm, file string
	cmd := &cobra.Command{
		Use:   "genkey --domain DOMAIN --selector SELECTOR [--file FILE]",
		Short: "Make a private key and print the DNS record to publish",
		Long: `Makes a private key and prints the DNS record to publish. A file that exists is never
overwritten.`,
		Example: `  postmend dkim genkey --domain example.org --selector 2026a`,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			if domain == "" || selector == "" {
				return outcome.Misused(errors.New("--domain and --selector are needed"))
			}
			if file == "" {
				file = filepath.Join("/etc/postmend/dkim", domain+"."+selector+".pem")
			}
			pem, err := dkim.GenerateKey(algorithm)
			if err != nil {
				return outcome.Misused(err)
			}
			if err := wholefile.Create(file, pem); err != nil {
				return outcome.Misconfigured("the key was not written", err)
			}
			key, err := dkim.LoadKey(domain, selector, file)
			if err != nil {
				os.Remove(file)
				return outcome.Misused(err)
			}
			fmt.Fprintf(inv.stderr, "%s: private key written, mode 0600; the user that runs the filter "+
				"must be able to read it\n", file)
			return inv.printRecord(key)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&domain, "domain", "", "the signing domain (d=)")
	flags.StringVar(&selector, "selector", "", "the selector (s=)")
	flags.StringVar(&algorithm, "type", "rsa2048", "rsa2048, rsa4096 or ed25519")
	flags.StringVar(&file, "file", "",
		"file for the private key; default /etc/postmend/dkim/DOMAIN.SELECTOR.pem")
	return cmd
}

func (inv *invocation) printRecord(key *dkim.Key) error {
	record, err := key.ZoneRecord()
	if err == nil {
		_, err = fmt.Fprintln(inv.stdout, record)
	}
	return err
}

func (inv *invocation) dkimRecordCommand() *cobra.Command {
	keys := keyFlags{inv: inv}
	cmd := &cobra.Command{
		Use:   "record [--domain DOMAIN] [--selector SELECTOR --file FILE]",
		Short: "Print the DNS records of the configured keys, or of one key file, as lines of a zone file",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			list, err := keys.load()
			if err != nil {
				return err
			}
			for _, key := range list {
				if err := inv.printRecord(key); err != nil {
					return err
				}
			}
			return nil
		},
	}
	keys.define(cmd)
	return cmd
}

func (inv *invocation) dkimSignCommand() *cobra.Command {
	keys := keyFlags{inv: inv, ofDefault: true}
	cmd := &cobra.Command{
		Use:     "sign [--domain DOMAIN] [--selector SELECTOR --file FILE]",
		Short:   "Sign the message on standard input and print it",
		Example: `  postmend dkim sign --domain example.org --selector 2026a --file key.pem < message`,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			list, err := keys.load()
			if err != nil {
				return err
			}
			return message.Sign(inv.stdout, inv.stdin, list)
		},
	}
	keys.define(cmd)
	return cmd
}

// keyFlags choose keys: one file, or those of the configuration.
type keyFlags struct {
	inv                    *invocation
	ofDefault              bool // without --domain, those of the configuration's default domain alone
	domain, selector, file string
}

func (k *keyFlags) define(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.domain, "domain", "", "the signing domain; default: from the configuration")
	cmd.Flags().StringVar(&k.selector, "selector", "", "the selector, with --file")
	cmd.Flags().StringVar(&k.file, "file", "", "a private key; default: the keys of the configuration")
}

// load gives the chosen keys.
func (k *keyFlags) load() ([]*dkim.Key, error) {
	if k.file != "" {
		if k.domain == "" || k.selector == "" {
			return nil, outcome.Misused(errors.New("--file needs --domain and --selector"))
		}
		key, err := dkim.LoadKey(k.domain, k.selector, k.file)
		if err != nil {
			return nil, outcome.Misconfigured("the key cannot be used", err)
		}
		return []*dkim.Key{key}, nil
	}
	settings, err := config.Load(k.inv.configFile)
	if err != nil {
		return nil, err
	}
	domain := k.domain
	if domain == "" && k.ofDefault {
		domain = settings.DKIM.DefaultDomain
	}
	keys, err := settings.LoadKeys(domain)
	switch {
	case err != nil:
		return nil, outcome.Misconfigured("the key cannot be used", err)
	case len(keys) == 0:
		return nil, outcome.Misconfigured(
			fmt.Sprintf("%s: no [[dkim.keys]] for %+q", k.inv.configFile, domain), nil)
	}
	return keys, nil
}
