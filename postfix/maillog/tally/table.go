package tally

import (
	"cmp"
	"slices"

	"postmend/postfix/maillog"
)

// maxRows bounds a table.
const maxRows = 4096

// table counts by name. When it is full, the half with the fewest refusals is merged into others. So the
// names with the most refusals stay, even if a log has millions, and no count is too high.
type table struct {
	rows    map[string]*row
	classes int
	others  Counts
	dropped int64 // rows that went into others
}

type row struct {
	Counts
	classes []int64 // of what was refused or is deferred
}

func newTable(classes int) *table { return &table{rows: map[string]*row{}, classes: classes} }

func (t *table) add(name string, o *maillog.Outcome, class int) {
	r := t.rows[name]
	if r == nil {
		if len(t.rows) >= maxRows {
			t.halve()
		}
		r = &row{}
		t.rows[name] = r
	}
	r.add(o)
	if class >= 0 {
		if r.classes == nil {
			r.classes = make([]int64, t.classes)
		}
		r.classes[class]++
	}
}

func (t *table) halve() {
	names := t.sorted()
	for _, name := range names[len(names)/2:] {
		t.others.merge(t.rows[name].Counts)
		t.dropped++
		delete(t.rows, name)
	}
}

func (c *Counts) merge(other Counts) {
	c.Delivered += other.Delivered
	c.Deferred += other.Deferred
	c.Refused += other.Refused
	c.Discarded += other.Discarded
	c.Attempts += other.Attempts
}

// sorted gives the names, those with most refusals first.
func (t *table) sorted() []string {
	names := make([]string, 0, len(t.rows))
	for name := range t.rows {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		x, y := t.rows[a], t.rows[b]
		return cmp.Or(cmp.Compare(y.Refused, x.Refused), cmp.Compare(y.Deferred, x.Deferred),
			cmp.Compare(y.Delivered, x.Delivered), cmp.Compare(a, b))
	})
	return names
}
