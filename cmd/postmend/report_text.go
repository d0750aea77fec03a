package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"postmend/postfix"
	"postmend/postfix/maillog"
	"postmend/postfix/maillog/tally"
)

// textWidth is of the terminal report, in columns.
const textWidth = 100

// printReport writes what a person reads. Whatever comes from the log is made printable.
func printReport(w io.Writer, r *tally.Report) error {
	var text strings.Builder
	p := textReport{w: &text, Report: r, title: map[string]string{}}
	for _, class := range r.Classes {
		p.title[class.Name] = class.Title
	}
	p.head()
	if len(r.Kinds) > 0 {
		p.totals()
	}
	p.classes()
	p.spark(isTerminal(w) && isUTF8Locale())
	p.table("sender domain", r.Domains)
	p.table("receiver", r.Receivers)
	p.table("alias", r.Aliases)
	p.advice()
	p.unknown()
	p.filter()
	_, err := io.WriteString(w, text.String())
	return err
}

type textReport struct {
	*tally.Report
	w     io.Writer
	title map[string]string // of classes
}

const minute = "2006-01-02 15:04"

func (p *textReport) head() {
	if p.Log.First == 0 {
		fmt.Fprintf(p.w, "No line of Postfix's in %d lines.\n", p.Log.Lines)
		return
	}
	fmt.Fprintf(p.w, "%s to %s, %d lines\n", p.From.Format(minute), p.To.Format(minute), p.Log.Lines)
	for _, remark := range remarks(p.Log) {
		fmt.Fprintln(p.w, remark)
	}
}

// remarks tell where the counts are not the whole truth.
func remarks(log maillog.Stats) (list []string) {
	if log.Mends > 0 && log.Attempts == 0 {
		list = append(list, fmt.Sprintf("%d lines of postmend's, and no delivery by Postfix: its own lines are missing. Where journald keeps the log, "+
			"journalctl --facility=mail gives both.", log.Mends))
	}
	if log.Notices > 0 {
		list = append(list, fmt.Sprintf("%d bounces and notices that Postfix made are not counted.", log.Notices))
	}
	if log.Lost > 0 {
		list = append(list, fmt.Sprintf("%d recipients went into the filter, and the log does not show them come out.", log.Lost))
	}
	if log.Evicted > 0 {
		list = append(list, fmt.Sprintf("%d messages were counted before their end, to keep memory flat.", log.Evicted))
	}
	return list
}

// aligned gives a table whose columns but the first stand on the right.
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
	rows := [][]string{{"recipients", "delivered", "deferred", "refused", "discarded", "attempts put off", ""}}
	for _, kind := range maillog.Kinds() {
		if c, found := p.Kinds[kind]; found {
			rows = append(rows, []string{string(kind), fmt.Sprint(c.Delivered), fmt.Sprint(c.Deferred), fmt.Sprint(c.Refused), fmt.Sprint(c.Discarded), fmt.Sprint(c.Attempts), ""})
		}
	}
	fmt.Fprintln(p.w)
	p.aligned(rows)
	if _, found := p.Kinds[maillog.Forwarded]; !found {
		fmt.Fprintln(p.w, "Nothing was forwarded; the rest of this report is about forwarded mail.")
	}
}

func (p *textReport) classes() {
	if len(p.Classes) == 0 {
		return
	}
	rows := [][]string{{"why forwards were refused", "refused", "deferred", ""}}
	for _, class := range p.Classes {
		rows = append(rows, []string{class.Title, fmt.Sprint(class.Refused), fmt.Sprint(class.Deferred), ""})
	}
	fmt.Fprintln(p.w)
	p.aligned(rows)
}

// maxSpark is how many marks a line of them has at most.
const maxSpark = 72

func (p *textReport) spark(can bool) {
	steps := p.Series.Refused
	if !can || len(steps) < 2 || len(p.Classes) == 0 {
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
	fmt.Fprintf(p.w, "\nrefused over time, from %s, a mark is %s, the highest %d\n%s\n", p.Series.Start.Format(minute), hours(each), most, line.String())
}

func hours(d time.Duration) string {
	if d == time.Hour {
		return "an hour"
	}
	return fmt.Sprintf("%d hours", d/time.Hour)
}

// isUTF8Locale goes by the variables that setlocale(3) does, in its order.
func isUTF8Locale() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := os.Getenv(name); value != "" {
			value = strings.ToLower(value)
			return strings.HasSuffix(value, "utf-8") || strings.HasSuffix(value, "utf8")
		}
	}
	return false
}

func (p *textReport) table(name string, t tally.Table) {
	rows := [][]string{{name, "refused", "deferred", "delivered", "mostly"}}
	for _, row := range t.Rows {
		if row.Refused+row.Deferred > 0 {
			rows = append(rows, []string{postfix.Printable(row.Name), fmt.Sprint(row.Refused), fmt.Sprint(row.Deferred), fmt.Sprint(row.Delivered), p.title[row.Leading()]})
		}
	}
	if len(rows) == 1 {
		return
	}
	if o := t.Others; o.Refused+o.Deferred > 0 {
		rows = append(rows, []string{"others", fmt.Sprint(o.Refused), fmt.Sprint(o.Deferred), fmt.Sprint(o.Delivered), ""})
	}
	fmt.Fprintln(p.w)
	p.aligned(rows)
}

func (p *textReport) advice() {
	if len(p.Remedies) == 0 {
		return
	}
	fmt.Fprintf(p.w, "\nwhat to do\n")
	for _, remedy := range p.Remedies {
		where := fmt.Sprintf("From %s, at %s.", strings.Join(remedy.Domains, ", "), strings.Join(remedy.Receivers, ", "))
		p.wrapped(fmt.Sprintf("%6d  ", remedy.Count), fmt.Sprintf("%s: %s %s", remedy.Title, remedy.Text, where))
	}
}

// wrapped writes text in lines, behind a lead that is not repeated.
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
		if class.Name != "other" {
			continue
		}
		fmt.Fprintf(p.w, "\nanswers that no rule knows\n")
		for _, example := range class.Examples {
			p.wrapped("        ", example)
		}
	}
}

func (p *textReport) filter() {
	table := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	for _, l := range []struct {
		name string
		tally.Latency
	}{{"through the filter", p.Filter}, {"of that, postmend", p.Program}} {
		if l.Runs > 0 {
			if l.name == "through the filter" || p.Filter.Runs == 0 {
				fmt.Fprintln(table)
			}
			fmt.Fprintf(table, "%s\t%d runs\tmedian %.3f s\t95%% within %.3f s\tslowest %.3f s\n", l.name, l.Runs, l.Median, l.P95, l.Max)
		}
	}
	table.Flush()
}
