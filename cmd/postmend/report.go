package main

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postmend/cmd/postmend/outcome"
	"postmend/postfix"
	"postmend/postfix/maillog"
	"postmend/postfix/maillog/present"
	"postmend/postfix/maillog/refusal"
	"postmend/postfix/maillog/tally"
)

// reportOptions are the flags of report.
type reportOptions struct {
	since, until string
	asJSON       bool
	htmlFile     string
	follow       bool
	rulesFile    string
	prometheus   string
	strictFile   string
	top          int
}

func (inv *invocation) reportCommand() *cobra.Command {
	var o reportOptions
	cmd := &cobra.Command{
		Use:   "report [flags] [LOG...]",
		Short: "Show who rejects forwarded mail, why, and what to do about it, from Postfix's log",
		Long: `Reads mail logs of syslog daemons, journalctl or containers, compressed or not, in any
order; - is standard input. It follows each message through the filter, so that a rejection counts for the
original sender's domain and the alias. Without LOG it reads /var/log/mail.log or /var/log/maillog and their
rotated predecessors. The exit status is 1 if it recognised nothing in the log.`,
		Example: `  postmend report --since yesterday
  journalctl --facility=mail --since today | postmend report -
  postmend report --html report.html /var/log/mail.log*`,
		RunE: func(_ *cobra.Command, logs []string) error { return inv.report(o, logs) },
	}
	flags := cmd.Flags()
	for _, f := range []struct {
		value       *string
		name, usage string
	}{
		{&o.since, "since", "leave out messages that ended before: 2026-11-24, an RFC 3339 time, today, " +
			"yesterday, or an age such as 24h or 7d"},
		{&o.until, "until", "leave out messages that ended at that time or later"},
		{&o.htmlFile, "html", "write a page with charts to this file"},
		{&o.rulesFile, "rules",
			"a file with your own rules for the classes of rejections; see docs/report.md"},
		{&o.prometheus, "prometheus", "write counters to this file, for the textfile collector of " +
			"Prometheus's node_exporter"},
		{&o.strictFile, "strict-domains", "add the domains whose From: should have been rewritten to " +
			"this file, for [dmarc] force_munge_file"},
	} {
		flags.StringVar(f.value, f.name, "", f.usage)
	}
	flags.BoolVar(&o.asJSON, "json", false, "print JSON")
	flags.BoolVar(&o.follow, "follow", false,
		"wait for more lines, and print a line for each rejection as it happens")
	flags.IntVar(&o.top, "top", 10, "how many domains, receivers and aliases are shown")
	return cmd
}

// reportMemory is the garbage collector's limit, in octets.
const reportMemory = 76 << 20

// reporter is a report under way.
type reporter struct {
	reportOptions
	inv     *invocation
	rules   *refusal.Rules
	tally   *tally.Tally
	tracker *maillog.Tracker
}

func (inv *invocation) report(o reportOptions, logs []string) error {
	r, err := newReporter(inv, o, time.Now())
	if err != nil {
		return err
	}
	if len(logs) == 0 {
		if logs, err = defaultLogs("/var/log", o.follow, inv.stderr); err != nil {
			return err
		}
	}
	if o.follow {
		return r.follow(logs)
	}
	files, err := maillog.Files(logs, time.Local)
	if err != nil {
		return readable(err)
	}
	if err := r.read(files); err != nil {
		return err
	}
	r.tracker.Close()
	if r.tracker.Stats.First == 0 {
		return r.showNothing(logs)
	}
	return r.show()
}

// showNothing ends a report on logs in which nothing was recognised. Files are written all the same, with
// zeros.
func (r *reporter) showNothing(logs []string) error {
	report := r.tally.Report(r.tracker.Stats, r.top)
	if err := r.writeFiles(report); err != nil {
		return err
	}
	if r.asJSON {
		if err := present.JSON(r.inv.stdout, report); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("postmend: nothing of Postfix's was recognised in %s of %s; docs/report.md "+
		"lists the forms of logs, and journalctl --facility=mail | postmend report - reads journald's",
		postfix.Counted(report.Log.Lines, "line"), strings.Join(logs, " "))
	fmt.Fprintln(r.inv.stderr, postfix.PrintableUTF8(text))
	r.inv.exit(1)
	return nil
}

func newReporter(inv *invocation, o reportOptions, now time.Time) (*reporter, error) {
	if o.top < 1 || o.top > 1000 {
		return nil, outcome.Misused(fmt.Errorf("--top %d: it must be 1 to 1000", o.top))
	}
	extra := ""
	if o.rulesFile != "" {
		text, err := os.ReadFile(o.rulesFile)
		if err != nil {
			return nil, unusable("rules", err)
		}
		extra = string(text)
	}
	// The data of messages in the queue are small compared with the garbage of finished ones.
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(reportMemory)
	rules, err := refusal.New(extra)
	if err != nil {
		return nil, unusable("rules", fmt.Errorf("%s: %w", o.rulesFile, err))
	}
	r := &reporter{reportOptions: o, inv: inv, rules: rules,
		tally: tally.New(rules), tracker: maillog.NewTracker(now, time.Local)}
	for _, bound := range []struct {
		flag, value string
		at          *int64
	}{{"--since", o.since, &r.tally.Since}, {"--until", o.until, &r.tally.Until}} {
		if bound.value == "" {
			continue
		}
		at, err := maillog.ParseMoment(bound.value, now)
		if err != nil {
			return nil, outcome.Misused(fmt.Errorf("%s %w", bound.flag, err))
		}
		*bound.at = at.Unix()
	}
	r.tracker.Outcome = r.tally.Add
	r.tracker.Piped = func(seconds float64) { r.tally.Piped(r.tracker.Stats.Last, seconds) }
	r.tracker.Ran = func(seconds float64) { r.tally.Ran(r.tracker.Stats.Last, seconds) }
	return r, nil
}

// unusable is an error about a file of the operator's.
func unusable(what string, err error) error {
	return outcome.Misconfigured(what+" cannot be used", err)
}

func readable(err error) error {
	return outcome.Misconfigured("log cannot be read", err)
}

// defaultLogs are the logs in a folder that can be read. Those that cannot, because a program is missing,
// are named in a notice: if nobody named a log, the report is about the others.
func defaultLogs(dir string, follow bool, notice io.Writer) ([]string, error) {
	logs, unreadable := maillog.DefaultFiles(dir, follow)
	if len(logs)+len(unreadable) == 0 {
		return nil, outcome.Misconfigured("no mail log in "+dir+"; name one, or: "+
			"journalctl --facility=mail --since today | postmend report -", nil)
	}
	if len(logs) == 0 {
		return unreadable, nil // to open them is an error that says what to install
	}
	for _, log := range unreadable {
		fmt.Fprintf(notice, "postmend: %s is not in this report, because %s is not installed\n",
			log, maillog.Unreadable(log))
	}
	return logs, nil
}

// read goes through the files, in the order of what is in them.
func (r *reporter) read(files []maillog.File) error {
	var terminal io.Writer // nil if nobody is there to see it
	if isTerminal(r.inv.stderr) {
		terminal = r.inv.stderr
	}
	bar := present.NewProgress(terminal, files)
	defer bar.Clear()
	for n := range files {
		if err := r.readFile(&files[n], bar); err != nil {
			return readable(err)
		}
	}
	return nil
}

func (r *reporter) readFile(file *maillog.File, bar *present.Progress) error {
	log, err := file.Open(r.inv.stdin, bar.Add)
	if err != nil {
		return err
	}
	defer log.Close()
	r.tracker.NextFile(file.Ended)
	if err := r.tracker.Read(log); err != nil {
		return fmt.Errorf("%s: %w", file.Name, err)
	}
	return nil
}

// show writes what was asked for: files, and then the report itself.
func (r *reporter) show() error {
	report := r.tally.Report(r.tracker.Stats, r.top)
	if err := r.writeFiles(report); err != nil {
		return err
	}
	if r.asJSON {
		return present.JSON(r.inv.stdout, report)
	}
	spark := isTerminal(r.inv.stdout) && isUTF8Locale()
	return present.Text(r.inv.stdout, report, present.TextOptions{Spark: spark})
}

// isUTF8Locale goes by the variables that setlocale(3) reads, in its order.
func isUTF8Locale() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := os.Getenv(name); value != "" {
			value = strings.ToLower(value)
			return strings.HasSuffix(value, "utf-8") || strings.HasSuffix(value, "utf8")
		}
	}
	return false
}
