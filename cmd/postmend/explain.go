package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"postmend/filter"
	"postmend/filter/authn"
	"postmend/filter/plan"
	"postmend/postfix"
)

func (inv *invocation) explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain -f SENDER [flags] -- RECIPIENT...",
		Short: "Show what filter would do with the message on standard input, and why; nothing is sent",
		Long: `Shows what filter would do with the message on standard input, and why. Nothing is sent. The
exit status is 0 also for a message that filter would reject.

Without --client-address, the message counts as mail of this host. The flags carry what pipe(8) tells filter
by macros, here in parentheses.`,
		Example: `  postmend explain -f alice@example.net --client-address 192.0.2.1 \
      --original-recipient info@example.org -- bob@example.com < message`,
	}
	envelope := envelopeFlags(cmd.Flags())
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(_ *cobra.Command, recipients []string) error {
		env, err := envelope(recipients)
		if err != nil {
			return err
		}
		return inv.withFilter(func(ctx context.Context, f *filter.Filter) error {
			explanation, err := f.Explain(ctx, env, inv.stdin)
			switch {
			case err != nil:
				return err
			case *asJSON:
				return postfix.WriteJSON(inv.stdout, explanation)
			}
			return printExplanation(inv.stdout, explanation)
		})
	}
	return cmd
}

// printExplanation writes the explanation for people. Everything that comes from outside is made printable.
func printExplanation(w io.Writer, e *filter.Explanation) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, postfix.Printable(fmt.Sprintf(format, args...)))
	}
	row("sender", "<%s>", e.Envelope.Sender)
	authors := cmp.Or(strings.Join(e.Authors, " "), "none")
	if e.Unread {
		authors = "not read, the header is too long"
	}
	row("From: domains", "%s", authors)
	client := "none (local submission)"
	if e.Envelope.HasClient() {
		client = cmp.Or(e.Envelope.ClientAddress, "unknown")
	}
	row("client", "%s", client)
	if e.Origin.Sealed {
		row("origin", "%s", describe(e.Origin))
	}
	if e.Proven.SPF.Status != "" {
		printProven(row, e.Proven)
	}
	if e.Refusal != "" {
		row(map[bool]string{true: "deferred", false: "refused"}[e.Temporary], "%s", e.Refusal)
	}
	for _, d := range e.Deliveries {
		fmt.Fprintln(table)
		row("class", "%s", d.Class)
		for _, r := range d.Recipients {
			via := ""
			if r.Original != "" && r.Original != r.Address {
				via = " via <" + r.Original + ">"
			}
			row("  recipient", "<%s>%s", r.Address, via)
		}
		row("  leaves with", "<%s>", d.Sender)
		row("  From:", "%s", cmp.Or(d.From, "unchanged"))
		row("  signature", "%s", cmp.Or(d.SignAs, "none"))
		if d.Arrival != "" {
			row("  arrival seal", "%s", d.Arrival)
		}
		if d.Fold {
			row("  long lines", "folded")
		}
		if d.Class != plan.Local && d.Class != plan.Reversed {
			row("  ARC set", "%s", map[bool]string{true: "added", false: "none"}[d.Seal])
		}
		if d.Forecast != nil {
			row("  a receiver sees", "SPF %s", d.Forecast.SPF)
			row("", "DMARC %s", d.Forecast.DMARC)
		}
		for _, reason := range d.Reasons {
			row("  because", "%s", reason)
		}
	}
	return table.Flush()
}

// describe tells where a message came from by the seal of its arrival.
func describe(o plan.ShownOrigin) string {
	state := "intact"
	if !o.Intact {
		state = "changed since, or expired"
	}
	return fmt.Sprintf("sealed (%s), client %s, sender <%s>, recipient <%s>", state,
		cmp.Or(o.Client, "unknown"), o.Sender, o.Recipient)
}

// spfReason is why SPF has its result, with the term of a record that is not valid.
func spfReason(found authn.SPF) string {
	if found.Term == "" {
		return found.Reason
	}
	return fmt.Sprintf("%s: %s, in the record of %s", found.Reason, postfix.Printable(found.Term), found.At)
}

// printProven shows what the message proved on arrival.
func printProven(row func(name, format string, args ...any), r authn.Results) {
	because := func(reason string) string {
		if reason == "" {
			return ""
		}
		return " (" + reason + ")"
	}
	row("SPF", "%s for %s%s", r.SPF.Status, cmp.Or(r.SPF.Domain, "no domain"), because(spfReason(r.SPF)))
	for _, signature := range r.DKIM {
		row("DKIM", "%s for %s, selector %s, %s%s", signature.Status, signature.Domain, signature.Selector,
			signature.Algorithm, because(signature.Reason))
	}
	if len(r.DKIM) == 0 {
		row("DKIM", "none")
	}
	row("DMARC", "%s%s", r.DMARC.Status,
		because(cmp.Or(strings.Join(r.DMARC.AlignedBy, ", "), r.DMARC.Reason)))
	if r.DMARC.PolicyName != "" {
		row("policy", "%s, found at %s", cmp.Or(string(r.DMARC.Policy), "none"), r.DMARC.PolicyName)
	}
	row("ARC", "%s%s", r.ARC.Status, because(r.ARC.Reason))
	for i, sealer := range r.ARC.Sealers {
		row(fmt.Sprintf("  set %d", i+1), "sealed by %s, selector %s",
			cmp.Or(sealer.Domain, "an unreadable domain"), cmp.Or(sealer.Selector, "none"))
	}
}
