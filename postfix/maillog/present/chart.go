package present

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"postmend/postfix/maillog/tally"
)

// groups have a colour of their own in the charts: classes that call for the same kind of action. A
// group's colour does not depend on the log. The last group takes all other classes.
var groups = [...]struct {
	title   string
	classes []string
}{
	{"DMARC", []string{"dmarc"}},
	{"SPF", []string{"spf"}},
	{"DKIM", []string{"dkim"}},
	{"not authenticated or aligned", []string{"unauthenticated", "alignment", "auth-temporary"}},
	{"reputation or rate", []string{"reputation"}},
	{"content or policy", []string{"content"}},
	{"mailbox", []string{"mailbox", "full"}},
	{"other reasons", nil},
}

// groupCounts counts by group.
type groupCounts [len(groups)]int64

func groupOf(class string) int {
	for n, g := range groups {
		if slices.Contains(g.classes, class) {
			return n
		}
	}
	return len(groups) - 1
}

func byGroup(classes map[string]int64) (counts groupCounts) {
	for class, n := range classes {
		counts[groupOf(class)] += n
	}
	return counts
}

// timeChart is the chart of refusals over time. Positions are in percent.
type timeChart struct {
	columns []column
	totals  groupCounts
	most    int64  // refusals in a column
	step    string // what a column stands for
	format  string // of labels
}

// column stands for a stretch of time; its parts stand on each other.
type column struct {
	start    time.Time
	when     string
	x, width float64
	total    int64
	counts   groupCounts
	parts    []part
}

type part struct {
	group     int
	y, height float64
}

// maxColumns keeps columns wide enough on a phone.
const maxColumns = 48

func newTimeChart(s tally.Series) timeChart {
	var chart timeChart
	width := (len(s.Refused) + maxColumns - 1) / maxColumns
	each := time.Duration(s.Seconds*int64(width)) * time.Second
	for start := 0; start < len(s.Refused); start += width {
		c := column{start: s.Start.Add(time.Duration(start) * time.Duration(s.Seconds) * time.Second)}
		c.when = c.start.Format("Mon 2 Jan 2006 15:04")
		for class, steps := range s.Classes {
			for _, n := range steps[start:min(start+width, len(steps))] {
				c.counts[groupOf(class)] += n
				chart.totals[groupOf(class)] += n
				c.total += n
			}
		}
		chart.columns = append(chart.columns, c)
		chart.most = max(chart.most, c.total)
	}
	chart.step = hours(each)
	chart.format = "2 Jan"
	if time.Duration(len(chart.columns))*each <= 72*time.Hour {
		chart.format = "2 Jan 15:04"
	}
	for n := range chart.columns {
		chart.columns[n].place(n, len(chart.columns), chart.most)
	}
	return chart
}

// place works out where the n-th of all columns stands.
func (c *column) place(n, all int, most int64) {
	space := 100 / float64(all)
	c.x, c.width = (float64(n)+0.1)*space, 0.8*space
	y := 100.0
	for group, count := range c.counts {
		if count > 0 {
			height := 100 * float64(count) / float64(most)
			y -= height
			c.parts = append(c.parts, part{group, y, height})
		}
	}
}

// words tells what a column shows.
func (c *column) words() string {
	var words []string
	for n, count := range c.counts {
		if count > 0 {
			words = append(words, fmt.Sprintf("%s %d", groups[n].title, count))
		}
	}
	return strings.Join(words, ", ")
}

type label struct {
	x            float64
	anchor, text string
}

// labels are the times under the columns: few enough for a phone.
func (c *timeChart) labels() []label {
	var list []label
	every := (len(c.columns) + 2) / 3
	for n := 0; n < len(c.columns); n += every {
		l := label{c.columns[n].x, "start", c.columns[n].start.Format(c.format)}
		if n > 0 {
			l.x, l.anchor = l.x+c.columns[n].width/2, "middle"
		}
		if l.x <= 85 {
			list = append(list, l)
		}
	}
	return list
}
