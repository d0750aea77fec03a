package present

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"postmend/filter/domain"
	"postmend/postfix"
	"postmend/postfix/maillog"
	"postmend/postfix/maillog/tally"
)

// Metrics writes counters in the text format of Prometheus. last is the time of the log's last line, in
// Unix seconds. No log can add labels or their values: those are kinds and classes.
func Metrics(w io.Writer, totals tally.Totals, last int64) error {
	var text strings.Builder
	metric := func(name, kind, help string) {
		fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %[1]s %[3]s\n", name, help, kind)
	}
	metric("postmend_report_recipients_total", "counter",
		"Recipients of messages, by kind of message and by what became of them.")
	for _, kind := range maillog.Kinds() {
		c := totals.Kinds[kind]
		for _, outcome := range []struct {
			name string
			n    int64
		}{{"delivered", c.Delivered}, {"refused", c.Refused}, {"discarded", c.Discarded}} {
			fmt.Fprintf(&text, "postmend_report_recipients_total{kind=%q,outcome=%q} %d\n",
				kind, outcome.name, outcome.n)
		}
	}
	metric("postmend_report_put_off_total", "counter",
		"Attempts to deliver that were put off, by kind of message.")
	for _, kind := range maillog.Kinds() {
		fmt.Fprintf(&text, "postmend_report_put_off_total{kind=%q} %d\n", kind, totals.Kinds[kind].Attempts)
	}
	metric("postmend_report_refusals_total", "counter", "Forwards that were refused, by class of reason.")
	for _, class := range totals.Classes {
		fmt.Fprintf(&text, "postmend_report_refusals_total{class=%q} %d\n", class.Name, class.Refused)
	}
	metric("postmend_report_unfit_senders_total", "counter",
		"Forwards whose sender does not fit into an SRS address, by what became of the sender.")
	fmt.Fprintf(&text, "postmend_report_unfit_senders_total{sender=\"alias\"} %d\n", totals.Unfit.Aliases)
	fmt.Fprintf(&text, "postmend_report_unfit_senders_total{sender=\"kept\"} %d\n", totals.Unfit.Kept)
	metric("postmend_report_filter_seconds", "summary", "Time that messages spent in the filter.")
	for _, q := range []struct {
		quantile string
		seconds  float64
	}{{"0.5", totals.Filter.Median}, {"0.95", totals.Filter.P95}} {
		fmt.Fprintf(&text, "postmend_report_filter_seconds{quantile=%q} %g\n", q.quantile, q.seconds)
	}
	fmt.Fprintf(&text, "postmend_report_filter_seconds_sum %g\n", totals.FilterSum)
	fmt.Fprintf(&text, "postmend_report_filter_seconds_count %d\n", totals.Filter.Runs)
	metric("postmend_report_log_seconds", "gauge",
		"Time of the last line of the log that was read, in Unix seconds.")
	fmt.Fprintf(&text, "postmend_report_log_seconds %d\n", last)
	_, err := io.WriteString(w, text.String())
	return err
}

// maxList is how long a list of domains may get, in octets: far less than the configuration reads.
const maxList = 1 << 20

// DomainList writes a list for [dmarc] force_munge_file: what old, the list so far, has, and then the
// domains that it lacks. A domain whose From: is rewritten now is no longer refused, so a list of today's
// refusals alone would lose it.
//
// Strangers choose the domains, and with a list that the configuration cannot read, all mail is deferred: so
// nothing is added that is no domain name there, and nothing to a list that is longer than maxList.
func DomainList(w io.Writer, old []byte, domains []tally.Strict) error {
	have := map[string]bool{}
	for line := range strings.Lines(string(old)) {
		have[strings.ToLower(strings.TrimSpace(line))] = true
	}
	if len(old) == 0 {
		old = []byte("# For [dmarc] force_munge_file: refused for DMARC, because From: was not rewritten.\n" +
			"# postmend report adds lines and removes none.\n")
	} else if !bytes.HasSuffix(old, []byte("\n")) {
		old = append(old, '\n')
	}
	text := bytes.NewBuffer(old)
	for _, d := range domains {
		if name, err := domain.Parse(d.Domain); err == nil && !have[name] && text.Len() < maxList {
			fmt.Fprintf(text, "# %s: refused by %s\n%s\n",
				d.Last.Format(time.DateOnly), postfix.Printable(d.Receiver), name)
		}
	}
	_, err := w.Write(text.Bytes())
	return err
}

// JSON writes the report for programs. Its form is documented in docs/report.md.
func JSON(w io.Writer, r *tally.Report) error {
	return postfix.WriteJSON(w, r)
}
