package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"postmend/filter"
	"postmend/filter/confine"
	"postmend/postfix"
	"postmend/postfix/check"
)

func (inv *invocation) checkCommand() *cobra.Command {
	var asJSON, noDNS bool
	var postfixDir string
	cmd := &cobra.Command{
		Use:   "check [--json] [--no-dns] [--postfix-dir DIR]",
		Short: "Tell what is wrong with the configuration, keys, Postfix and DNS, and how to mend it",
		Long: `Looks at the configuration, the keys and secrets, Postfix's main.cf and master.cf, and the DNS records, and changes nothing.
Whatever is not right is shown with the reason why it matters and the command that mends it. The exit status is 0 if there
is nothing worse than a note, else 1.`,
		Example: `  postmend check
  postmend check --json --no-dns`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings := inv.check(cmd.Context(), postfixDir, noDNS)
			write := writeFindings
			if asJSON {
				write = writeFindingsJSON
			}
			if err := write(inv.stdout, findings); err != nil {
				return err
			}
			if !isRight(findings) {
				inv.status = new(int)
				*inv.status = 1
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&asJSON, "json", false, "print the findings for programs")
	flags.BoolVar(&noDNS, "no-dns", false, "do not ask DNS")
	flags.StringVar(&postfixDir, "postfix-dir", "", "Postfix's configuration directory; default: Postfix's own")
	return cmd
}

// check gathers all facts, and has them judged.
func (inv *invocation) check(ctx context.Context, postfixDir string, noDNS bool) []check.Finding {
	configFile, err := filepath.Abs(inv.configFile)
	if err != nil {
		configFile = inv.configFile
	}
	own := gatherOwn(configFile)
	if postfixDir != "" {
		own.postfixFlag = []string{"--postfix-dir", postfixDir}
	}
	host, hostErr := check.Gather(ctx, postfixDir, own.forPostfix())
	if hostErr == nil {
		own.learn(host)
	}
	findings := append(own.judge(), own.restraints()...)
	if hostErr != nil {
		findings = append(findings, check.Finding{Area: "Postfix", Name: "postfix-unreadable", Severity: check.Error,
			What: postfix.Printable(hostErr.Error()), Why: "Postfix's configuration cannot be judged; is it installed, and are you root?"})
	} else {
		findings = append(findings, check.Postfix(host)...)
	}
	if noDNS || own.config == nil {
		return findings
	}
	deadline, cancel := context.WithTimeout(ctx, time.Duration(own.config.Limits.DNSDeadline))
	defer cancel()
	return append(findings, gatherDNS(deadline, own, host).judge()...)
}

// restraints are what a run of the filter on this kernel, with this configuration, denies itself: they need nothing from the operator.
func (o *own) restraints() []check.Finding {
	var needs *confine.Needs
	if c := o.config; c != nil {
		spoolDir := cmp.Or(c.Limits.SpoolDir, check.DefaultSpoolDir)
		if found, ok := confine.NeedsOf(c.Reinject.Target, c.Resolver, spoolDir, len(c.LocalDomainsMaps) > 0); ok {
			needs = &found
		}
	}
	var findings []check.Finding
	for _, active := range confine.Active(needs) {
		findings = append(findings, check.Finding{Area: areaFiles, Name: "restraint", Severity: check.OK, What: active})
	}
	return findings
}

// isRight tells whether there is nothing worse than a note.
func isRight(findings []check.Finding) bool {
	for _, f := range findings {
		if f.Severity == check.Warning || f.Severity == check.Error {
			return false
		}
	}
	return true
}

func writeFindingsJSON(w io.Writer, findings []check.Finding) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(struct {
		OK       bool            `json:"ok"`
		Findings []check.Finding `json:"findings"`
	}{isRight(findings), findings})
}

// writeFindings shows the findings to a person, in colours on a terminal (and see https://no-color.org).
func writeFindings(w io.Writer, findings []check.Finding) error {
	inColour := isTerminal(w) && os.Getenv("NO_COLOR") == ""
	page := pageWriter{w: w}
	count := map[check.Severity]int{}
	changesPostfix := false
	area := ""
	for _, f := range findings {
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
		page.detail("publish", f.Publish)
		changesPostfix = changesPostfix || f.Mend != "" && f.Area != areaFiles
	}
	page.printf("%d errors, %d warnings, %d notes, %d ok\n", count[check.Error], count[check.Warning], count[check.Note], count[check.OK])
	if changesPostfix {
		page.printf("After a change of Postfix's configuration: postfix reload\n")
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

// pageWriter keeps the first error.
type pageWriter struct {
	w   io.Writer
	err error
}

func (p *pageWriter) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *pageWriter) detail(label, text string) {
	if text != "" {
		p.printf("           %-8s %s\n", label+":", text)
	}
}

// ownerOf gives the account that a file belongs to; "" if that is root, or nobody knows.
func ownerOf(f check.File) string {
	if f.Err != nil || f.UID == 0 {
		return ""
	}
	account, err := user.LookupId(strconv.Itoa(f.UID))
	if err != nil {
		return ""
	}
	return account.Username
}

// loadProblem is the error that a configuration cannot be used for, its tables and targets included.
func loadProblem(path string) (*filter.Config, error) {
	config, err := filter.LoadConfig(path)
	if err != nil {
		return nil, cause(err)
	}
	if _, err := filter.New(config, filter.Options{}); err != nil {
		return nil, cause(err)
	}
	return config, nil
}

// cause is what a failure says to the operator.
func cause(err error) error {
	if failure, ok := errors.AsType[*filter.Failure](err); ok && failure.Err != nil {
		return failure.Err
	}
	return err
}
