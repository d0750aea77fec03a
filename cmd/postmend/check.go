package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"postmend/cmd/postmend/outcome"
	"postmend/postfix"
	"postmend/postfix/check"
)

func (inv *invocation) checkCommand() *cobra.Command {
	var asJSON, verbose, records bool
	var options check.Options
	cmd := &cobra.Command{
		Use:   "check [--json | --records] [--verbose] [--no-dns] [--postfix-dir DIR]",
		Short: "Find what is wrong with the configuration, keys, Postfix and DNS, and how to mend it",
		Long: `Judges the configuration, the keys and secrets, Postfix's main.cf and master.cf, and the DNS
records. It changes nothing. For each fault it prints why it matters and what mends it: a command, a line
of postmend.toml to edit, or a DNS record to publish. The exit status is 1 if there is a warning or an
error, else 0. If you have to decide, it prints no command. For a domain of Postfix that has no DKIM key,
each run prints the next step towards one.

Run it as root, so that it can judge which files the account in master.cf can read; otherwise it prints a
warning, and does not judge files that it cannot read itself. On a terminal it uses colours, unless
NO_COLOR is set.

--json prints an object with "ok" and "findings". Each finding has area, name, severity (ok, note,
warning, error) and what, and, where they apply, why, mend, edit (file, line, key, value), publish, and
reload (the command after mend).`,
		Example: `  postmend check
  postmend check --records
  postmend check --json --no-dns`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON && records {
				return outcome.Misused(errors.New("--json and --records cannot be used together"))
			}
			options.Program, _ = os.Executable()
			options.ConfigFile = inv.configFile
			if path, err := filepath.Abs(inv.configFile); err == nil {
				options.ConfigFile = path
			}
			findings := check.Run(cmd.Context(), options)
			var err error
			switch {
			case asJSON:
				err = writeFindingsJSON(inv.stdout, findings)
			case records:
				err = writeRecords(inv.stdout, findings)
			default:
				err = writeFindings(inv.stdout, findings, verbose)
			}
			if err != nil {
				return err
			}
			if !check.IsRight(findings) {
				inv.exit(1)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&asJSON, "json", false, "print the findings as JSON")
	flags.BoolVar(&records, "records", false, "print only the DNS records that are still to be "+
		"published, as lines of a zone file")
	flags.BoolVar(&verbose, "verbose", false, "also show how the program confines itself on this kernel")
	flags.BoolVar(&options.NoDNS, "no-dns", false, "do not look up DNS records")
	flags.StringVar(&options.PostfixDir, "postfix-dir", "",
		"Postfix's configuration directory; default: Postfix's own")
	return cmd
}

func writeFindingsJSON(w io.Writer, findings []check.Finding) error {
	return postfix.WriteJSON(w, struct {
		OK       bool            `json:"ok"`
		Findings []check.Finding `json:"findings"`
	}{check.IsRight(findings), findings})
}

// writeRecords shows what is to be published, as lines of a zone file.
func writeRecords(w io.Writer, findings []check.Finding) error {
	page := pageWriter{w: w}
	for _, f := range findings {
		if f.Publish != "" {
			page.printf("; %s: %s\n; why: %s\n%s\n", f.Severity, f.What, f.Why, f.Publish)
		}
	}
	return page.err
}

// mostRecords is how many records of a finding are shown whole.
const mostRecords = 3

// publish shows records, in short where there are many.
func (p *pageWriter) publish(records string) {
	lines := strings.Split(records, "\n")
	if len(lines) > mostRecords {
		p.detail("publish", fmt.Sprintf("%d records; postmend check --records prints them", len(lines)))
		return
	}
	for _, record := range lines {
		p.detail("publish", record)
	}
}

// writeFindings shows the findings to a person, in colours on a terminal (and see https://no-color.org).
func writeFindings(w io.Writer, findings []check.Finding, verbose bool) error {
	inColour := isTerminal(w) && os.Getenv("NO_COLOR") == ""
	page := pageWriter{w: w}
	count := map[check.Severity]int{}
	reload := ""
	area := ""
	for _, f := range findings {
		if f.Detail && !verbose {
			continue
		}
		if f.Area != area {
			page.printf("%s\n", f.Area)
			area = f.Area
		}
		label := fmt.Sprintf("%-8s", f.Severity)
		if inColour {
			label = "\x1b[" + colourOf(f.Severity) + "m" + label + "\x1b[0m"
		}
		page.printf("  %s %s\n", label, f.What)
		if count[f.Severity]++; f.Severity == check.OK {
			continue
		}
		page.detail("why", f.Why)
		page.detail("mend", f.Mend)
		if f.Edit != nil {
			page.detail("edit", f.Edit.String())
		}
		page.publish(f.Publish)
		reload = cmp.Or(f.Reload, reload)
	}
	page.printf("%s, %s, %s, %d ok\n", postfix.Counted(count[check.Error], "error"),
		postfix.Counted(count[check.Warning], "warning"), postfix.Counted(count[check.Note], "note"),
		count[check.OK])
	if reload != "" {
		page.printf("After a change of Postfix's configuration: %s\n", reload)
	}
	return page.err
}

// colourOf gives the parameter of SGR (ECMA-48 section 8.3.117).
func colourOf(severity check.Severity) string {
	switch severity {
	case check.Error:
		return "1;31"
	case check.Warning:
		return "33"
	case check.Note:
		return "36"
	}
	return "32"
}
