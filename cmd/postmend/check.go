package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"postmend/postfix"
	"postmend/postfix/check"
)

func (inv *invocation) checkCommand() *cobra.Command {
	var asJSON, verbose bool
	var options check.Options
	cmd := &cobra.Command{
		Use:   "check [--json] [--verbose] [--no-dns] [--postfix-dir DIR]",
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
  postmend check --json --no-dns`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options.Program, _ = os.Executable()
			options.ConfigFile = inv.configFile
			if path, err := filepath.Abs(inv.configFile); err == nil {
				options.ConfigFile = path
			}
			findings := check.Run(cmd.Context(), options)
			var err error
			if asJSON {
				err = writeFindingsJSON(inv.stdout, findings)
			} else {
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
		for record := range strings.SplitSeq(f.Publish, "\n") {
			page.detail("publish", record)
		}
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
