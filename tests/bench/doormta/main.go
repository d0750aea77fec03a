// Command doormta is Postfix's side of milter conversations, for door.sh: it sends a message from a file to a
// milter a number of times, each time in a conversation of its own, and checks that it is accepted.
//
//	doormta NETWORK ADDRESS CONVERSATIONS SIMULTANEOUS FILE [show]
//
// show prints what the milter changes.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
)

func main() {
	network, address := os.Args[1], os.Args[2]
	count, _ := strconv.Atoi(os.Args[3])
	simultaneous, _ := strconv.Atoi(os.Args[4])
	message, err := os.ReadFile(os.Args[5])
	if err != nil {
		log.Fatal(err)
	}
	header, body, _ := strings.Cut(string(message), "\n\n")
	var all sync.WaitGroup
	for worker := range simultaneous {
		all.Go(func() {
			for n := worker; n < count; n += simultaneous {
				err := converse(network, address, header, strings.ReplaceAll(body, "\n", "\r\n"))
				if err != nil {
					log.Fatal(err)
				}
			}
		})
	}
	all.Wait()
}

// conversation is one connection; steps are the milter's wishes.
type conversation struct {
	net.Conn
	replies *bufio.Reader
	steps   uint32
	out     bytes.Buffer
}

// withoutReply are the bits by which a milter says that it answers nothing to a command.
var withoutReply = map[byte]uint32{'C': 0x1000, 'H': 0x2000, 'M': 0x4000, 'R': 0x8000, 'T': 0x10000,
	'N': 0x40000,
	'B': 0x80000, 'L': 0x80}

// unwanted are the bits by which it says that a command is not to be sent.
var unwanted = map[byte]uint32{'C': 0x1, 'H': 0x2, 'M': 0x4, 'R': 0x8, 'B': 0x10, 'L': 0x20, 'N': 0x40,
	'T': 0x200}

func converse(network, address, header, body string) error {
	conn, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := &conversation{Conn: conn, replies: bufio.NewReader(conn)}
	if err := c.negotiate(); err != nil {
		return err
	}
	z := func(words ...string) string { return strings.Join(words, "\x00") + "\x00" }
	c.put('D', "C"+z("j", "mx.example.org"))
	c.step('C', z("mail.sender.example")+"4\x12\x34"+z("192.0.2.25"))
	c.step('H', z("mail.sender.example"))
	c.step('M', z("<alice@sender.example>"))
	c.step('R', z("<alias@example.org>"))
	c.put('D', "T"+z("i", "4XYZ"))
	c.step('T', "")
	for _, field := range fields(header) {
		name, value, _ := strings.Cut(field, ":")
		if c.steps&0x100000 == 0 {
			value = strings.TrimPrefix(value, " ")
		}
		c.step('L', z(name, value))
	}
	c.step('N', "")
	for len(body) > 0 {
		n := min(len(body), 65535)
		c.step('B', body[:n])
		body = body[n:]
	}
	c.put('E', "")
	for {
		code, data, err := c.reply()
		switch {
		case err != nil:
			return err
		case code == 'c' || code == 'a':
			c.put('Q', "")
			c.flush()
			return nil
		case strings.IndexByte("himp+-", code) < 0:
			return fmt.Errorf("answer %q %q", code, data)
		case len(os.Args) > 6:
			fmt.Printf("%c %q\n", code, data)
		}
	}
}

func fields(header string) (list []string) {
	for _, line := range strings.Split(header, "\n") {
		if n := len(list); n > 0 && (line[0] == ' ' || line[0] == '\t') {
			list[n-1] += "\n" + line
		} else {
			list = append(list, line)
		}
	}
	return list
}

func (c *conversation) negotiate() error {
	offer := binary.BigEndian.AppendUint32(nil, 6)
	offer = binary.BigEndian.AppendUint32(offer, 0x1ff)
	offer = binary.BigEndian.AppendUint32(offer, 0x1fffff)
	c.put('O', string(offer))
	code, data, err := c.reply()
	if err != nil || code != 'O' || len(data) < 12 {
		return fmt.Errorf("negotiation: %q %q %v", code, data, err)
	}
	c.steps = binary.BigEndian.Uint32(data[8:])
	return nil
}

func (c *conversation) put(command byte, data string) {
	c.out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(data)+1)))
	c.out.WriteByte(command)
	c.out.WriteString(data)
}

// step sends a command, and waits for its answer if there is one.
func (c *conversation) step(command byte, data string) {
	if c.steps&unwanted[command] != 0 {
		return
	}
	c.put(command, data)
	if c.steps&withoutReply[command] != 0 {
		return
	}
	if code, data, err := c.reply(); err != nil || code != 'c' {
		log.Fatalf("%q: %q %q %v", command, code, data, err)
	}
}

func (c *conversation) flush() {
	c.Write(c.out.Bytes())
	c.out.Reset()
}

func (c *conversation) reply() (byte, []byte, error) {
	c.flush()
	var head [5]byte
	if _, err := io.ReadFull(c.replies, head[:]); err != nil {
		return 0, nil, err
	}
	data := make([]byte, binary.BigEndian.Uint32(head[:])-1)
	_, err := io.ReadFull(c.replies, data)
	return head[4], data, err
}
