package tally

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"postmend/postfix/maillog"
)

// Report is what a tally adds up to, ready to be shown. Its JSON form is documented in docs/report.md.
type Report struct {
	From      Moment                  `json:"from"` // of the log
	To        Moment                  `json:"to"`
	Log       maillog.Stats           `json:"log"`
	Kinds     map[maillog.Kind]Counts `json:"kinds"`
	Classes   []ClassRow              `json:"classes"`
	Domains   Table                   `json:"sender_domains"`
	Receivers Table                   `json:"receivers"`
	Aliases   Table                   `json:"aliases"`
	Unfit     Unfit                   `json:"unfit_senders"`
	Remedies  []Remedy                `json:"advice"`
	Series    Series                  `json:"over_time"`
	Filter    Latency                 `json:"filter"`
	Program   Latency                 `json:"program"`
	Strict    []Strict                `json:"strict_domains"`
}

// Moment is a point in time. The zero Moment is none, and null in JSON.
type Moment struct{ time.Time }

func moment(unix int64) Moment { return Moment{time.Unix(unix, 0)} }

// MarshalJSON gives RFC 3339.
func (m Moment) MarshalJSON() ([]byte, error) {
	if m.IsZero() {
		return []byte("null"), nil
	}
	return m.Time.MarshalJSON()
}

// ClassRow is a class of refusals. Classes that did not occur are left out.
type ClassRow struct {
	Name           string   `json:"class"`
	Title          string   `json:"title"`
	Authentication bool     `json:"authentication"`
	Refused        int64    `json:"refused"`
	Deferred       int64    `json:"deferred"`
	Examples       []string `json:"examples"`

	index int
}

// Table is the top of a table.
type Table struct {
	Rows   []Row  `json:"rows"`
	Others Counts `json:"others"` // all that have no row
	// Names is how many there are.
	Names int64 `json:"names"`
}

// Row is a line of a table.
type Row struct {
	Name string `json:"name"`
	Counts
	// Classes counts what was refused or is deferred, by class.
	Classes map[string]int64 `json:"classes,omitempty"`
}

// Remedy is advice, and what it is about.
type Remedy struct {
	Class     string   `json:"class"`
	Cause     string   `json:"cause"` // for programs
	Title     string   `json:"title"`
	Count     int64    `json:"count"`
	Text      string   `json:"advice"`
	Domains   []string `json:"sender_domains"` // the most frequent
	Receivers []string `json:"receivers"`
}

// Series is what became of forwards over time.
type Series struct {
	Start     Moment             `json:"start"`
	Seconds   int64              `json:"seconds_per_step"`
	Delivered []int64            `json:"delivered"`
	Refused   []int64            `json:"refused"`
	Classes   map[string][]int64 `json:"classes"`
}

// Latency says how long things took, in seconds.
type Latency struct {
	Runs   int64   `json:"runs"`
	Median float64 `json:"median"`
	P95    float64 `json:"p95"`
	Max    float64 `json:"max"`
}

// Report adds up. Tables have at most limit rows.
func (t *Tally) Report(log maillog.Stats, limit int) *Report {
	r := &Report{Log: log, Kinds: map[maillog.Kind]Counts{}, Strict: t.Strict(), Unfit: t.unfit,
		Filter: t.pipe.latency(), Program: t.run.latency()}
	if log.First != 0 {
		r.From, r.To = moment(max(log.First, t.Since)), moment(log.Last)
		if t.Until != 0 && t.Until < log.Last {
			r.To = moment(t.Until)
		}
	}
	for kind, counts := range t.kinds {
		r.Kinds[kind] = *counts
	}
	for n, count := range t.classes {
		if count.refused+count.deferred > 0 {
			class := t.rules.Classes[n]
			r.Classes = append(r.Classes, ClassRow{class.Name, class.Title, class.Authentication,
				count.refused, count.deferred, count.examples, n})
		}
	}
	slices.SortStableFunc(r.Classes, func(a, b ClassRow) int {
		return cmp.Or(cmp.Compare(b.Refused, a.Refused), cmp.Compare(b.Deferred, a.Deferred))
	})
	r.Domains = t.top(t.domains, limit)
	r.Receivers = t.top(t.receivers, limit)
	r.Aliases = t.top(t.aliases, limit)
	r.Remedies = t.advice()
	r.Series = t.series(r.Classes)
	return r
}

func (t *Tally) top(from *table, limit int) Table {
	top := Table{Others: from.others, Names: int64(len(from.rows)) + from.dropped}
	for n, name := range from.sorted() {
		counted := from.rows[name]
		if n >= limit {
			top.Others.merge(counted.Counts)
			continue
		}
		row := Row{Name: name, Counts: counted.Counts}
		for class, count := range counted.classes {
			if count > 0 {
				if row.Classes == nil {
					row.Classes = map[string]int64{}
				}
				row.Classes[t.rules.Classes[class].Name] = count
			}
		}
		top.Rows = append(top.Rows, row)
	}
	return top
}

// Leading is the class that a row has most of; "" if there is none.
func (r Row) Leading() string {
	leading := ""
	for _, name := range slices.Sorted(maps.Keys(r.Classes)) {
		if leading == "" || r.Classes[name] > r.Classes[leading] {
			leading = name
		}
	}
	return leading
}

// maxShown is how many names stand beside a piece of advice.
const maxShown = 5

func (t *Tally) advice() []Remedy {
	var list []Remedy
	keys := slices.SortedFunc(maps.Keys(t.remedies), func(a, b remedyKey) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.cause, b.cause),
			cmp.Compare(a.text, b.text))
	})
	for _, key := range keys {
		r := t.remedies[key]
		class := t.rules.Classes[r.class]
		list = append(list, Remedy{class.Name, key.cause, class.Title, r.n, r.text,
			r.domains.most(maxShown), r.receivers.most(maxShown)})
	}
	slices.SortStableFunc(list, func(a, b Remedy) int { return cmp.Compare(b.Count, a.Count) })
	return list
}

func (t *Tally) series(classes []ClassRow) Series {
	s := Series{Seconds: t.over.width, Classes: map[string][]int64{}}
	if len(t.over.steps) == 0 {
		return s
	}
	starts := slices.Sorted(maps.Keys(t.over.steps))
	first, last := starts[0], starts[len(starts)-1]
	if (last-first)/t.over.width >= 4*maxSteps { // sparse logs over many years
		t.over.widen()
		return t.series(classes)
	}
	s.Start = moment(first)
	for start := first; start <= last; start += t.over.width {
		var delivered, refused int64
		if step := t.over.steps[start]; step != nil {
			delivered = step.delivered
			for _, n := range step.refused {
				refused += n
			}
		}
		s.Delivered, s.Refused = append(s.Delivered, delivered), append(s.Refused, refused)
		for _, class := range classes {
			n := int64(0)
			if step := t.over.steps[start]; step != nil {
				n = step.refused[class.index]
			}
			s.Classes[class.Name] = append(s.Classes[class.Name], n)
		}
	}
	return s
}

func (h *histogram) latency() Latency {
	if h.n == 0 {
		return Latency{}
	}
	return Latency{h.n, h.quantile(0.5), h.quantile(0.95), h.max}
}

// Totals are the counts of all kinds and classes, including zeros.
type Totals struct {
	Kinds     map[maillog.Kind]Counts
	Classes   []ClassTotal
	Unfit     Unfit
	Filter    Latency
	FilterSum float64 // seconds
}

// ClassTotal counts the forwards that were refused for a class of reasons.
type ClassTotal struct {
	Name    string
	Refused int64
}

// Totals adds up by kind and by class.
func (t *Tally) Totals() Totals {
	totals := Totals{Kinds: map[maillog.Kind]Counts{}, Unfit: t.unfit, Filter: t.pipe.latency(),
		FilterSum: t.pipe.sum}
	for kind, counts := range t.kinds {
		totals.Kinds[kind] = *counts
	}
	for n, count := range t.classes {
		totals.Classes = append(totals.Classes, ClassTotal{t.rules.Classes[n].Name, count.refused})
	}
	return totals
}
