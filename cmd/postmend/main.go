// Command postmend mends mail that a Postfix server forwards: it is started by pipe(8) for a message, gives it a sender for
// which this host may send, signs it, and hands it back. See README.md.
package main

import (
	"io"
	"os"
	"runtime/debug"

	"postmend/postfix"
)

// stdin is a variable for the sake of faultinjection.go alone.
var stdin io.Reader = os.Stdin

func main() {
	postfix.DieDeferring()
	// Signing a large message leaves much garbage behind; small ones end before anything is collected.
	debug.SetGCPercent(50)
	os.Exit(run(os.Args[1:], stdin, os.Stdout, os.Stderr))
}
