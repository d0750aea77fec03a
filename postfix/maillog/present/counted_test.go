package present_test

import (
	"bytes"
	"regexp"
	"testing"

	"postmend/postfix/maillog"
	"postmend/postfix/maillog/present"
	"postmend/postfix/maillog/tally"
)

// One of everything is told in the singular.
func TestOneIsNotTwo(t *testing.T) {
	one := tally.Counts{Delivered: 1, Deferred: 1, Refused: 1, Discarded: 1, Attempts: 1}
	row := tally.Row{Name: "b.example", Counts: one, Classes: map[string]int64{"spf": 1}}
	table := tally.Table{Rows: []tally.Row{row}, Others: one, Names: 2}
	latency := tally.Latency{Runs: 1, Median: 1, P95: 1, Max: 1}
	r := &tally.Report{
		Log:     maillog.Stats{Lines: 1, Runs: 1, Evicted: 1, Notices: 1, Lost: 1, Deleted: 1},
		Kinds:   map[maillog.Kind]tally.Counts{maillog.Forwarded: one},
		Classes: []tally.ClassRow{{Name: "spf", Title: "SPF", Refused: 1, Deferred: 1}},
		Domains: table, Receivers: table, Aliases: table,
		Unfit: tally.Unfit{Aliases: 1, Kept: 1}, Filter: latency, Program: latency,
		Remedies: []tally.Remedy{{Class: "spf", Title: "SPF", Count: 1, Text: "Do it."}},
	}
	var text, page bytes.Buffer
	if err := present.Text(&text, r, present.TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := present.Page(&page, r, "1"); err != nil {
		t.Fatal(err)
	}
	tags := regexp.MustCompile(`<[^>]*>`)
	plural := regexp.MustCompile(
		`\b1 (forwards|lines|messages|recipients|runs|bounces|hours|octets|are|were|have)\b`)
	for name, shown := range map[string]string{"text": text.String(),
		"page": tags.ReplaceAllString(page.String(), "")} {
		if found := plural.FindString(shown); found != "" {
			t.Errorf("%s: %q in\n%s", name, found, shown)
		}
	}
}
