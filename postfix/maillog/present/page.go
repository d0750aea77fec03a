package present

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"strings"
	"time"

	"postmend/postfix"
	"postmend/postfix/maillog"
	"postmend/postfix/maillog/tally"
)

//go:embed page.css
var pageStyle string

// htmlWriter writes HTML. The library's templates could do that, but merely linking them slows the start
// of postmend filter by a tenth, and every message would pay for it.
type htmlWriter struct{ strings.Builder }

// put is Printf, with each text among the arguments made printable and escaped for HTML: as content, or
// inside a quoted attribute. No argument may stand anywhere else.
func (p *htmlWriter) put(format string, args ...any) {
	for n, arg := range args {
		if text, isText := arg.(string); isText {
			args[n] = html.EscapeString(postfix.PrintableUTF8(text))
		}
	}
	fmt.Fprintf(&p.Builder, format+"\n", args...)
}

// Page writes the report as one page: style and drawings are in it, and its content security policy lets
// it load nothing. version is postmend's.
func Page(w io.Writer, r *tally.Report, version string) error {
	p := &htmlWriter{}
	p.head(r)
	p.put(`<main>`)
	p.overTime(r)
	p.advice(r.Remedies)
	p.table("receivers", "Receivers that refuse most", "Receiver", r, r.Receivers)
	p.table("domains", "Sender domains refused most", "Sender domain", r, r.Domains)
	p.table("aliases", "Aliases refused most", "Alias", r, r.Aliases)
	p.answers(r.Classes)
	p.allMail(r)
	p.put(`</main>`)
	p.put(`<footer>Made by postmend %s on %s. This page loads nothing from elsewhere.</footer>`,
		version, time.Now().Format(minute))
	p.put(`</body></html>`)
	_, err := io.WriteString(w, p.String())
	return err
}

func (p *htmlWriter) head(r *tally.Report) {
	sum := sha256.Sum256([]byte(pageStyle))
	policy := base64.StdEncoding.EncodeToString(sum[:])
	from, to, forwarded := r.From.Format(minute), r.To.Format(minute), r.Kinds[maillog.Forwarded]
	p.put(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Refused forwards, %s to %s</title>`, policy, from, to)
	p.WriteString("<style>" + pageStyle + "</style>\n")
	p.put(`</head><body>
<a class="skip" href="#todo">Skip to what to do</a>
<header>
<h1>Who refuses our forwards, and why</h1>
<p class="faint">%s to %s · %s of log</p>
<ul class="tiles">
<li><b>%d</b> %s delivered</li>
<li><b>%d</b> refused%s</li>
<li><b>%d</b> still deferred</li>`,
		from, to, postfix.Counted(r.Log.Lines, "line"), forwarded.Delivered,
		postfix.Plural(forwarded.Delivered, "forward"), forwarded.Refused, share(forwarded),
		forwarded.Deferred)
	if forwarded.Discarded > 0 {
		p.put(`<li><b>%d</b> discarded</li>`, forwarded.Discarded)
	}
	if r.Filter.Runs > 0 {
		p.put(`<li><b>%.3f s</b> in the filter, median</li>`, r.Filter.Median)
	}
	p.put(`</ul>
`)
	for _, line := range unfit(r.Unfit) {
		p.put(`<p>%s</p>
`, line)
	}
	p.put(`</header>`)
}

// share tells which part was refused.
func share(c tally.Counts) string {
	if c.Delivered+c.Refused == 0 {
		return ""
	}
	return fmt.Sprintf(", %.1f%%", 100*float64(c.Refused)/float64(c.Delivered+c.Refused))
}

func (p *htmlWriter) overTime(r *tally.Report) {
	chart := newTimeChart(r.Series)
	if chart.most == 0 {
		return
	}
	p.put(`<section aria-labelledby="time">
<h2 id="time">Refusals over time</h2>
<p class="faint">Forwards refused, by reason; each column is %s.</p>
<ul class="legend">`, chart.step)
	for n, total := range chart.totals {
		if total > 0 {
			p.put(`<li><svg class="key" viewBox="0 0 10 10" aria-hidden="true">
<rect class="c%d" width="10" height="10"/></svg>%s %d</li>`, n+1, groups[n].title, total)
		}
	}
	p.put(`</ul>
<div class="chart">
<div class="scale" aria-hidden="true"><span>%d</span><span>0</span></div>
<svg class="plot" role="img"
aria-label="Stacked columns of refusals over time, at most %d in %s; the numbers are in the table below.">
<line class="guide" x1="0" y1="0.5" x2="100%%" y2="0.5"/>
<line class="guide" x1="0" y1="50%%" x2="100%%" y2="50%%"/>`, chart.most, chart.most, chart.step)
	for _, column := range chart.columns {
		if column.total > 0 {
			p.put(`<g><title>%s: %s</title>`, column.when, column.words())
			for _, part := range column.parts {
				p.put(`<rect class="c%d" x="%.2f%%" y="%.2f%%" width="%.2f%%" height="%.2f%%"/>`,
					part.group+1, column.x, part.y, column.width, part.height)
			}
			p.put(`</g>`)
		}
	}
	p.put(`</svg>
<svg class="times" aria-hidden="true">`)
	for _, label := range chart.labels() {
		p.put(`<text x="%.2f%%" y="1em" text-anchor="%s">%s</text>`, label.x, label.anchor, label.text)
	}
	p.put(`</svg>
</div>
<details><summary>The numbers</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Refusals over time, as a table">
<table><thead><tr><th scope="col">From</th><th scope="col" class="n">Refused</th>
<th scope="col">Why</th></tr></thead><tbody>`)
	for _, column := range chart.columns {
		if column.total > 0 {
			p.put(`<tr><th scope="row">%s</th><td class="n">%d</td><td>%s</td></tr>`,
				column.when, column.total, column.words())
		}
	}
	p.put(`</tbody></table></div></details>
</section>`)
}

func (p *htmlWriter) advice(remedies []tally.Remedy) {
	p.put(`<section aria-labelledby="todo">
<h2 id="todo">What to do</h2>`)
	if len(remedies) == 0 {
		p.put(`<p>Nothing. No forward was refused, and none is deferred.</p>`)
	}
	p.put(`<ul class="advice">`)
	for _, remedy := range remedies {
		p.put(`<li><span class="count">%d</span><div><p><strong>%s.</strong> %s</p>
<p class="faint">From %s; at %s.</p></div></li>`, remedy.Count, remedy.Title, remedy.Text,
			strings.Join(remedy.Domains, ", "), strings.Join(remedy.Receivers, ", "))
	}
	p.put(`</ul>
</section>`)
}

// table shows a table with a bar in each row: as long as what was refused or is deferred, in the colours
// of the reasons.
func (p *htmlWriter) table(id, title, name string, r *tally.Report, t tally.Table) {
	var most int64
	for _, row := range t.Rows {
		most = max(most, row.Refused+row.Deferred)
	}
	if most == 0 {
		return
	}
	p.put(`<section aria-labelledby="%s">
<h2 id="%s">%s</h2>
<table class="bars">
<caption>The bar shows what was refused or is deferred, in the colours of the reasons.</caption>
<thead><tr><th scope="col">%s</th>
<th scope="col" class="n">Refused</th><th scope="col" class="n">Deferred</th>
<th scope="col" class="n">Delivered</th><td class="bar"></td>
<th scope="col" class="why">Mostly</th></tr></thead>
<tbody>`, id, id, title, name)
	shown, others := int64(0), t.Others
	for _, row := range t.Rows {
		if row.Refused+row.Deferred == 0 {
			others.Delivered += row.Delivered
			continue
		}
		shown++
		p.put(`<tr><th scope="row">%s</th><td class="n">%d</td><td class="n">%d</td><td class="n">%d</td>
<td class="bar"><svg aria-hidden="true">`,
			row.Name, row.Refused, row.Deferred, row.Delivered)
		x := 0.0
		for n, count := range byGroup(row.Classes) {
			if count > 0 {
				width := 100 * float64(count) / float64(most)
				p.put(`<rect class="c%d" x="%.2f%%" width="%.2f%%" height="100%%">
<title>%s %d</title></rect>`, n+1, x, width, groups[n].title, count)
				x += width
			}
		}
		p.put(`</svg></td><td class="why">%s</td></tr>`, classTitle(r, row.Leading()))
	}
	p.put(`</tbody></table>`)
	if t.Names > shown {
		p.put(`<p class="faint">%d more: %d refused, %d deferred, %d delivered.</p>`,
			t.Names-shown, others.Refused, others.Deferred, others.Delivered)
	}
	p.put(`</section>`)
}

func classTitle(r *tally.Report, name string) string {
	for _, class := range r.Classes {
		if class.Name == name {
			return class.Title
		}
	}
	return name
}

func (p *htmlWriter) answers(classes []tally.ClassRow) {
	if len(classes) == 0 {
		return
	}
	p.put(`<section aria-labelledby="answers">
<h2 id="answers">What the receivers said</h2>`)
	for _, class := range classes {
		p.put(`<details><summary>%s: %d refused, %d deferred</summary>`,
			class.Title, class.Refused, class.Deferred)
		for _, example := range class.Examples {
			p.put(`<p><code>%s</code></p>`, example)
		}
		p.put(`</details>`)
	}
	p.put(`</section>`)
}

func (p *htmlWriter) allMail(r *tally.Report) {
	p.put(`<section aria-labelledby="all">
<h2 id="all">All mail</h2>
<div class="scroll" tabindex="0" role="region" aria-label="All mail">
<table><thead><tr><th scope="col">Recipients</th><th scope="col" class="n">Delivered</th>
<th scope="col" class="n">Deferred</th><th scope="col" class="n">Refused</th>
<th scope="col" class="n">Discarded</th>
<th scope="col" class="n">Attempts postponed</th></tr></thead><tbody>`)
	for _, kind := range maillog.Kinds() {
		if c, found := r.Kinds[kind]; found {
			p.put(`<tr><th scope="row">%s</th><td class="n">%d</td><td class="n">%d</td><td class="n">%d</td>
<td class="n">%d</td><td class="n">%d</td></tr>`,
				string(kind), c.Delivered, c.Deferred, c.Refused, c.Discarded, c.Attempts)
		}
	}
	p.put(`</tbody></table>
</div>`)
	for _, l := range latencies(r) {
		p.put(`<p class="faint">%s: %s, median %.3f s, 95%% within %.3f s, slowest %.3f s.</p>`,
			l.name, postfix.Counted(l.Runs, "run"), l.Median, l.P95, l.Max)
	}
	for _, remark := range remarks(r.Log) {
		p.put(`<p class="faint">%s</p>`, remark)
	}
	p.put(`</section>`)
}
