//go:build packaging

package main

import (
	"fmt"
	"os"

	"postmend/cmd/postmend/packaging"
)

// A build with this tag is a tool of the Makefile.
func init() {
	if err := packaging.Run(os.Args[1:], (&invocation{}).commands(), version); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
