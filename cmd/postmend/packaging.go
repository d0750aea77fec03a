//go:build packaging

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"postmend/cmd/postmend/manual"
)

// A build with this tag is a tool for the Makefile, in the top folder: `man DIR` writes the man pages.
func init() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "man":
		err = writePages(os.Args[2])
	default:
		err = fmt.Errorf("usage: man DIR")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func writePages(dir string) error {
	pages, err := manual.Program{Version: version, Date: sourceDate()}.Pages((&invocation{}).commands(), os.DirFS("docs"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, page := range pages {
		if err := os.WriteFile(filepath.Join(dir, page.File), []byte(page.Text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// sourceDate is SOURCE_DATE_EPOCH, which makes builds reproducible. Without it there is no date.
func sourceDate() time.Time {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
