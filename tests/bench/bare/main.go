// Command bare is what a filter in Go costs before it has done anything of its own: it passes stdin on to
// SMTP and makes the calls of the standard library that mending cannot do without, so many signatures and
// look-ups, and uses nothing of what they give.
//
//	bare PORT SENDER RECIPIENT KEYFILE SIGNATURES RESOLVER [NAME...] < message
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
)

func main() {
	if len(os.Args) < 7 {
		fmt.Println("4.3.5 usage")
		os.Exit(75)
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Println("4.3.0", err)
		os.Exit(75)
	}
	fmt.Println("2.0.0 sent")
}

func run(args []string) error {
	port, sender, recipient, key := args[0], args[1], args[2], args[3]
	signatures, resolver, names := args[4], args[5], args[6:]
	message, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	message = bytes.ReplaceAll(message, []byte("\n"), []byte("\r\n"))
	n, err := strconv.Atoi(signatures)
	if err != nil {
		return err
	}
	if err := lookUp(resolver, names); err != nil {
		return err
	}
	if err := sign(key, n, message); err != nil {
		return err
	}
	return send("127.0.0.1:"+port, sender, recipient, message)
}

// lookUp asks for the TXT records of all names at once.
func lookUp(resolver string, names []string) error {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, resolver)
	}}
	failures := make(chan error, len(names))
	for _, name := range names {
		go func() {
			_, err := r.LookupTXT(context.Background(), name)
			failures <- err
		}()
	}
	var err error
	for range names {
		err = errors.Join(err, <-failures)
	}
	return err
}

func sign(file string, n int, message []byte) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("no PEM in " + file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(message)
	for range n {
		signature, err := key.(*rsa.PrivateKey).Sign(nil, hash[:], crypto.SHA256)
		if err != nil {
			return err
		}
		hash = sha256.Sum256(signature) // so that the next one is of something else
	}
	return nil
}

// send hands the message on; smtp-source's lines have no dots to stuff.
func send(listener, sender, recipient string, message []byte) error {
	conn, err := net.Dial("tcp", listener)
	if err != nil {
		return err
	}
	replies := bufio.NewReader(conn)
	steps := []struct {
		text    string
		replies int
	}{
		{"", 1},
		{"EHLO localhost\r\n", 1},
		{"MAIL FROM:<" + sender + ">\r\nRCPT TO:<" + recipient + ">\r\nDATA\r\n", 3},
		{string(message) + ".\r\nQUIT\r\n", 1},
	}
	for _, step := range steps {
		if _, err := io.WriteString(conn, step.text); err != nil {
			return err
		}
		for range step.replies {
			if err := expect(replies); err != nil {
				return err
			}
		}
	}
	return nil
}

// expect reads one reply, of one or more lines, which has to be a positive one.
func expect(replies *bufio.Reader) error {
	for {
		line, err := replies.ReadString('\n')
		if err != nil {
			return err
		}
		if len(line) < 4 || line[0] != '2' && line[0] != '3' {
			return errors.New(line)
		}
		if line[3] != '-' {
			return nil
		}
	}
}
