package main

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"postmend/cmd/postmend/outcome"
	"postmend/postfix/maillog/present"
	"postmend/postfix/maillog/tally"
	"postmend/postfix/wholefile"
)

// writeFiles writes what was asked for beside the report itself.
func (r *reporter) writeFiles(report *tally.Report) error {
	for _, file := range []struct {
		path  string
		write func(io.Writer) error
	}{
		{r.htmlFile, func(w io.Writer) error { return present.Page(w, report, version) }},
		{r.prometheus, func(w io.Writer) error {
			return present.Metrics(w, r.tally.Totals(), r.tracker.Stats.Last)
		}},
		{r.strictFile, func(w io.Writer) error { return r.writeDomains(w, report.Strict) }},
	} {
		if file.path == "" {
			continue
		}
		if err := wholefile.Replace(file.path, file.write); err != nil {
			return outcome.Misconfigured(file.path+" cannot be written", err)
		}
	}
	return nil
}

// writeDomains writes the list of domains, with what it has now.
func (r *reporter) writeDomains(w io.Writer, domains []tally.Strict) error {
	old, err := os.ReadFile(r.strictFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return present.DomainList(w, old, domains)
}
