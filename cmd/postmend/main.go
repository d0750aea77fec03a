// Command postmend mends mail that a Postfix server forwards: it is started by pipe(8) for a message, gives it a sender for
// which this host may send, signs it, and hands it back. See README.md.
package main

import (
	"io"
	"os"
	"time"

	"postmend/filter"
	"postmend/filter/confine"
	"postmend/postfix"
)

// Variables for the sake of faultinjection.go alone.
var (
	stdin io.Reader = os.Stdin
	now             = time.Now
)

func main() {
	growStack(false)
	postfix.DieDeferring()
	restrain = func(f *filter.Filter) {
		if confine.AtOnce() {
			_ = f.Confine() // where the kernel cannot, the work goes on
		}
	}
	os.Exit(run(os.Args[1:], stdin, os.Stdout, os.Stderr))
}
