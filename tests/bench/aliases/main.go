// Command aliases fills the store of a configuration, and writes two files of addresses, one a line: the
// aliases that it stored, and SRS addresses that need no store.
//
//	aliases CONFIG NUMBER ALIASES ADDRESSES
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"postmend/filter/config"
	"postmend/srs/store"
)

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: aliases CONFIG NUMBER ALIASES ADDRESSES")
	}
	number, err := strconv.Atoi(os.Args[2])
	check(err)
	settings, err := config.Load(os.Args[1])
	check(err)
	rewriter, err := settings.SRS.Rewriter(time.Now)
	check(err)
	senders, err := store.Open(settings.SRS.StoreOptions(time.Now))
	check(err)
	write(os.Args[3], number, func(n int) string {
		sender := fmt.Sprintf("bounces+%08d-7c3e-alias=example.org@em1234.newsletter.sender.example", n)
		alias, key, err := rewriter.Alias(sender)
		check(err)
		check(senders.Put(context.Background(), key, sender))
		return alias
	})
	write(os.Args[4], number, func(n int) string {
		address, err := rewriter.Forward(fmt.Sprintf("user%08d@sender.example", n))
		check(err)
		return address
	})
}

func write(path string, lines int, line func(n int) string) {
	file, err := os.Create(path)
	check(err)
	out := bufio.NewWriter(file)
	for n := range lines {
		fmt.Fprintln(out, line(n))
	}
	check(out.Flush())
	check(file.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
