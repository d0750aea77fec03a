// Package present shows a tally.Report: as text for a terminal, as a page with charts, as counters and as
// a list of domains.
//
// It judges and counts nothing. What a log says may be hostile: maillog cleans it as it is read, and each
// form escapes it once more for the place where it stands.
package present

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"postmend/postfix"
	"postmend/postfix/maillog"
	"postmend/postfix/maillog/refusal"
	"postmend/postfix/maillog/tally"
)

// textWidth is the width of the report on a terminal, in columns.
const textWidth = 100

// minute is how the report writes points in time.
const minute = "2006-01-02 15:04"

// TextOptions say what the terminal can show.
type TextOptions struct {
	Spark bool // block characters, which need UTF-8
}

// Text writes the report for a person to read on a terminal. All of it is ASCII, except for the spark line.
func Text(w io.Writer, r *tally.Report, o TextOptions) error {
	var text strings.Builder
	p := textReport{w: &text, Report: r, title: map[string]string{}}
	for _, class := range r.Classes {
		p.title[class.Name] = class.Title
	}
	p.head()
	p.totals()
	p.classes()
	if o.Spark {
		p.spark()
	}
	p.table("sender domain", r.Domains)
	p.table("receiver", r.Receivers)
	p.table("alias", r.Aliases)
	p.advice()
	p.unknown()
	p.latencies()
	_, err := io.WriteString(w, text.String())
	return err
}

type textReport struct {
	*tally.Report
	w     io.Writer
	title map[string]string // of classes
}

func (p *textReport) head() {
	fmt.Fprintf(p.w, "%s to %s, %s\n", p.From.Format(minute), p.To.Format(minute),
		postfix.Counted(p.Log.Lines, "line"))
	for _, remark := range remarks(p.Log) {
		fmt.Fprintln(p.w, remark)
	}
}

// remarks tell where the counts are incomplete.
func remarks(log maillog.Stats) (list []string) {
	if log.Runs > 0 && log.Attempts == 0 {
		list = append(list, fmt.Sprintf("The log has %s of postmend, but no delivery by Postfix: "+
			"Postfix's own lines are missing. If journald keeps the log, journalctl --facility=mail "+
			"prints both.", postfix.Counted(log.Runs, "line")))
	}
	if log.Notices > 0 {
		list = append(list, fmt.Sprintf("Bounces and notices of Postfix's own, not counted: %d.",
			log.Notices))
	}
	if log.Lost > 0 {
		list = append(list, postfix.Counted(log.Lost, "recipient")+
			" went into the filter, but the log does not show the outcome.")
	}
	if log.Deleted > 0 {
		list = append(list, postfix.Counted(log.Deleted, "deferred recipient")+
			" left the queue by postsuper -d, not counted.")
	}
	if log.Evicted > 0 {
		list = append(list, "Counted before the end, because memory is limited: "+
			postfix.Counted(log.Evicted, "message")+".")
	}
	return list
}

// aligned writes a table. Columns of numbers, except for the first, are aligned to the right.
func (p *textReport) aligned(rows [][]string) {
	widths := map[int]int{}
	for _, row := range rows {
		for n, cell := range row {
			widths[n] = max(widths[n], len(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for n, cell := range row {
			switch {
			case n == 0:
				fmt.Fprintf(&line, "%-*s", widths[n], cell)
			case strings.Trim(cell, "0123456789") == "" || n < len(row)-1 && rows[0][n] == cell:
				fmt.Fprintf(&line, "  %*s", widths[n], cell)
			default:
				line.WriteString("  " + cell)
			}
		}
		fmt.Fprintln(p.w, strings.TrimRight(line.String(), " "))
	}
}

func (p *textReport) totals() {
	if len(p.Kinds) == 0 {
		return
	}
	rows := [][]string{{
		"recipients", "delivered", "deferred", "refused", "discarded", "attempts postponed", "",
	}}
	for _, kind := range maillog.Kinds() {
		if c, found := p.Kinds[kind]; found {
			counts := cells(c.Delivered, c.Deferred, c.Refused, c.Discarded, c.Attempts)
			rows = append(rows, append([]string{string(kind)}, counts...))
		}
	}
	fmt.Fprintln(p.w)
	p.aligned(rows)
	if _, found := p.Kinds[maillog.Forwarded]; !found {
		fmt.Fprintln(p.w, "No mail was forwarded. The rest of this report is about forwarded mail.")
	}
	for _, line := range unfit(p.Unfit) {
		fmt.Fprintln(p.w, line)
	}
}

// unfit tells of senders that do not fit into an SRS address.
func unfit(u tally.Unfit) (list []string) {
	if u.Aliases > 0 {
		list = append(list, postfix.Counted(u.Aliases, "forward")+" had a sender that does not fit into "+
			"an SRS address, and left with an alias.")
	}
	if u.Kept > 0 {
		list = append(list, postfix.Counted(u.Kept, "forward")+" kept a sender that does not fit into an "+
			"SRS address: SPF fails. See [srs] store in docs/configuration.md.")
	}
	return list
}

// cells gives numbers as the cells of a row, and an empty cell at its end.
func cells(numbers ...int64) (list []string) {
	for _, n := range numbers {
		list = append(list, fmt.Sprint(n))
	}
	return append(list, "")
}

func (p *textReport) classes() {
	if len(p.Classes) == 0 {
		return
	}
	rows := [][]string{{"why forwards were refused", "refused", "deferred", ""}}
	for _, class := range p.Classes {
		counts := cells(class.Refused, class.Deferred)
		rows = append(rows, append([]string{postfix.Printable(class.Title)}, counts...))
	}
	fmt.Fprintln(p.w)
	p.aligned(rows)
}

// maxSpark is the greatest width of the spark line, in columns.
const maxSpark = 72

func (p *textReport) spark() {
	steps := p.Series.Refused
	if len(steps) < 2 {
		return
	}
	width := (len(steps) + maxSpark - 1) / maxSpark
	var joined []int64
	var most int64
	for n, count := range steps {
		if n%width == 0 {
			joined = append(joined, 0)
		}
		joined[len(joined)-1] += count
		most = max(most, joined[len(joined)-1])
	}
	if most == 0 {
		return
	}
	marks := []rune("▁▂▃▄▅▆▇█")
	var line strings.Builder
	for _, count := range joined {
		if count == 0 {
			line.WriteRune(' ')
			continue
		}
		line.WriteRune(marks[(count*int64(len(marks))-1)/most])
	}
	each := time.Duration(p.Series.Seconds*int64(width)) * time.Second
	fmt.Fprintf(p.w, "\nrefused over time, from %s; each mark is %s, the highest stands for %d\n%s\n",
		p.Series.Start.Format(minute), hours(each), most, line.String())
}

func hours(d time.Duration) string {
	if d == time.Hour {
		return "an hour"
	}
	return fmt.Sprintf("%d hours", d/time.Hour)
}

func (p *textReport) table(name string, t tally.Table) {
	rows := [][]string{{name, "refused", "deferred", "delivered", "mostly"}}
	add := func(name, mostly string, c tally.Counts) {
		if c.Refused+c.Deferred == 0 {
			return
		}
		row := append([]string{postfix.Printable(name)}, cells(c.Refused, c.Deferred, c.Delivered)...)
		row[len(row)-1] = postfix.Printable(mostly)
		rows = append(rows, row)
	}
	for _, row := range t.Rows {
		add(row.Name, p.title[row.Leading()], row.Counts)
	}
	if len(rows) == 1 {
		return
	}
	add("others", "", t.Others)
	fmt.Fprintln(p.w)
	p.aligned(rows)
}

func (p *textReport) advice() {
	if len(p.Remedies) == 0 {
		return
	}
	fmt.Fprintf(p.w, "\nwhat to do\n")
	for _, remedy := range p.Remedies {
		from, at := strings.Join(remedy.Domains, ", "), strings.Join(remedy.Receivers, ", ")
		p.wrapped(fmt.Sprintf("%6d  ", remedy.Count),
			fmt.Sprintf("%s: %s From %s, at %s.", remedy.Title, remedy.Text, from, at))
	}
}

// wrapped writes text in several lines, with a lead before the first.
func (p *textReport) wrapped(lead, text string) {
	line := lead
	empty := true
	for word := range strings.FieldsSeq(postfix.Printable(text)) {
		if !empty && len(line)+1+len(word) > textWidth {
			fmt.Fprintln(p.w, line)
			line, empty = strings.Repeat(" ", len(lead)), true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	fmt.Fprintln(p.w, line)
}

func (p *textReport) unknown() {
	for _, class := range p.Classes {
		if class.Name != refusal.Other {
			continue
		}
		fmt.Fprintf(p.w, "\nanswers that no rule knows\n")
		for _, example := range class.Examples {
			p.wrapped("        ", example)
		}
	}
}

func (p *textReport) latencies() {
	table := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	if p.Filter.Runs+p.Program.Runs > 0 {
		fmt.Fprintln(table)
	}
	for _, l := range latencies(p.Report) {
		fmt.Fprintf(table, "%s\t%s\tmedian %.3f s\t95%% within %.3f s\tslowest %.3f s\n",
			l.name, postfix.Counted(l.Runs, "run"), l.Median, l.P95, l.Max)
	}
	table.Flush()
}

// latency has a name beside its numbers.
type latency struct {
	name string
	tally.Latency
}

// latencies gives those that were measured.
func latencies(r *tally.Report) (list []latency) {
	for _, l := range []latency{{"through the filter", r.Filter}, {"of that, postmend", r.Program}} {
		if l.Runs > 0 {
			list = append(list, l)
		}
	}
	return list
}

// Refusal is a line about a refusal, for a log that is followed. Title is of its class, receiver who refused.
func Refusal(o *maillog.Outcome, title, receiver string) string {
	alias := ""
	if o.Alias != "" {
		alias = " by <" + o.Alias + ">"
	}
	at := time.Unix(o.At, 0).Format(time.DateTime)
	return postfix.Printable(fmt.Sprintf("%s %s: %s: from <%s> to <%s>%s at %s: %s",
		at, o.ID, title, o.Sender, o.Recipient, alias, cmp.Or(receiver, "unknown"), o.Reason))
}
