package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/pflag"

	"postmend/cmd/postmend/outcome"
	"postmend/filter/plan"
	"postmend/postfix"
)

// envelopeFlags defines the flags that carry pipe(8)'s macros and gives the function that reads them.
func envelopeFlags(flags *pflag.FlagSet) func(recipients []string) (*plan.Envelope, error) {
	var env plan.Envelope
	var originals []string
	var size string
	flags.StringVarP(&env.Sender, "sender", "f", "", "envelope sender, empty for the null sender (${sender})")
	flags.StringVar(&env.QueueID, "queue-id", "", "Postfix's queue id (${queue_id})")
	flags.StringVar(&env.ClientAddress, "client-address", "", "the SMTP client's address (${client_address})")
	flags.StringVar(&env.ClientName, "client-name", "", "the client's host name (${client_hostname})")
	flags.StringVar(&env.ClientPort, "client-port", "", "the client's port (${client_port})")
	flags.StringVar(&env.ClientProtocol, "client-protocol", "", "SMTP or ESMTP (${client_protocol})")
	flags.StringVar(&env.HELO, "helo", "", "the client's name in HELO or EHLO (${client_helo})")
	flags.StringVar(&env.SASLUsername, "sasl-username", "", "the name by which the user logged in "+
		"(${sasl_username})")
	flags.StringVar(&env.ID, "envid", "", "the envelope id of delivery reports (${envid}, Postfix 3.9 and "+
		"later)")
	flags.StringVar(&size, "size", "", "the message's size in octets (${size})")
	flags.StringArrayVar(&originals, "original-recipient", nil,
		"the address before aliases were expanded (${original_recipient}): one for each recipient, in the "+
			"same order, or one for all of them")
	return func(recipients []string) (*plan.Envelope, error) {
		if n := len(originals); n > 1 && n != len(recipients) {
			return nil, outcome.Misused(fmt.Errorf("--original-recipient is given %d times, for %s: give "+
				"one for each recipient, or one for all", n, postfix.Counted(len(recipients), "recipient")))
		}
		for i, address := range recipients {
			r := plan.Recipient{Address: address}
			if len(originals) > 0 {
				r.Original = plan.Known(originals[min(i, len(originals)-1)])
			}
			env.Recipients = append(env.Recipients, r)
		}
		for _, value := range []*string{&env.QueueID, &env.ClientAddress, &env.ClientName, &env.ClientPort,
			&env.ClientProtocol, &env.HELO, &env.SASLUsername, &env.ID} {
			*value = plan.Known(*value)
		}
		if size = plan.Known(size); size != "" {
			var err error
			if env.Size, err = strconv.ParseInt(size, 10, 64); err != nil || env.Size < 0 {
				return nil, outcome.Misused(fmt.Errorf("--size %q is not a number of octets", size))
			}
		}
		return &env, nil
	}
}
