// Command dns answers from the zone on standard input at once, for the benchmark: it prints its address and
// stays.
package main

import (
	"fmt"
	"io"
	"os"

	"postmend/filter/authn/dnstest"
)

func main() {
	zone, err := io.ReadAll(os.Stdin)
	if err == nil {
		var server *dnstest.Server
		if server, err = dnstest.Start(string(zone)); err == nil {
			fmt.Println(server.Addr())
			select {}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
