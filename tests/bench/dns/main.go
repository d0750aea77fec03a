// Command dns answers from the zone on standard input at once, for the benchmark: it prints its address and
// stays. With an argument, it answers at that address, too, by UDP.
package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"postmend/filter/authn/dnsserver"
)

func main() {
	zone, err := io.ReadAll(os.Stdin)
	if err == nil {
		var server *dnsserver.Server
		if server, err = dnsserver.Start(string(zone)); err == nil {
			if len(os.Args) > 1 {
				go relay(os.Args[1], server.Addr())
			}
			fmt.Println(server.Addr())
			select {}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// relay takes questions at an address to a server.
func relay(address, server string) {
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		question := make([]byte, 4096)
		n, client, err := conn.ReadFrom(question)
		if err != nil {
			continue
		}
		go func() {
			to, err := net.Dial("udp", server)
			if err != nil {
				return
			}
			defer to.Close()
			to.Write(question[:n])
			answer := make([]byte, 64<<10)
			if n, err := to.Read(answer); err == nil {
				conn.WriteTo(answer[:n], client)
			}
		}()
	}
}
