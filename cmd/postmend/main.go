// Command postmend mends mail that a Postfix server forwards: pipe(8) starts it for each message; it rewrites
// the sender by SRS, signs the message, and hands it back. See README.md.
package main

import (
	"io"
	"os"
	"time"

	"postmend/filter"
	"postmend/filter/confine"
	"postmend/postfix"
)

// These are variables only for faultinjection.go.
var (
	stdin io.Reader = os.Stdin
	now             = time.Now
)

func main() {
	postfix.DieDeferring()
	restrain = func(f *filter.Filter) {
		if confine.AtOnce() {
			_ = f.Confine() // if the kernel cannot, the run continues
		}
	}
	confineForGood = func(f *filter.Filter) { _ = f.Confine() }
	os.Exit(run(os.Args[1:], stdin, os.Stdout, os.Stderr))
}
