package setup

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// replyPatience is how long smtpd(8) may take for a reply. Look-ups of the client's name in a DNS that does
// not answer, greylisting and the delay after an error stay below it; a table that cannot be asked makes
// smtpd try again and again.
const replyPatience = 30 * time.Second

// Reply is what smtpd(8) answers to RCPT TO. Code is 0 if Err tells why there was none.
type Reply struct {
	Code int
	Text string // "250 2.1.5 Ok", the last line
	Err  error
	// Keywords are the first words of the lines, a blank around each: after LHLO, what is offered.
	Keywords string
}

func (r Reply) class() int { return r.Code / 100 }

// isTrouble tells whether the reply is a temporary one about Postfix itself, such as "451 4.3.0 Temporary
// lookup failure" or "451 4.3.5 Server configuration error" (RFC 3463 section 3.4: X.3.XXX is the mail
// system's status).
func (r Reply) isTrouble() bool {
	_, status, _ := strings.Cut(r.Text, " ")
	return r.Err != nil || r.class() == 4 && strings.HasPrefix(status, "4.3.")
}

// isPolicy tells whether the reply is a permanent one about who asks, such as "554 5.7.1 Access denied".
func (r Reply) isPolicy() bool {
	_, status, _ := strings.Cut(r.Text, " ")
	return r.Err == nil && r.class() == 5 && strings.HasPrefix(status, "5.7.")
}

func (r Reply) String() string {
	if r.Err != nil {
		return r.Err.Error()
	}
	return r.Text
}

// ask holds an SMTP conversation up to RCPT TO, one for each address, and sends nothing. An error tells why
// it did not come that far.
func ask(ctx context.Context, server, helo string, addresses []string) ([]Reply, error) {
	conn, err := (&net.Dialer{Timeout: replyPatience}).DialContext(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	c := &conversation{ctx: ctx, conn: conn, replies: bufio.NewReader(conn)}
	defer func() { c.conn.Close() }()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	greeting := c.reply()
	if greeting.class() != 2 {
		return nil, fmt.Errorf("%s greets with %s", server, greeting)
	}
	if reply := c.begin(helo); reply.class() != 2 {
		return nil, fmt.Errorf("%s answers %s", server, reply)
	}
	replies := make([]Reply, len(addresses))
	for i, address := range addresses {
		if replies[i] = c.command("RCPT TO:<" + address + ">"); replies[i].Err != nil {
			return replies[:i+1], nil
		}
	}
	c.command("QUIT")
	return replies, nil
}

// conversation is the client's side of SMTP.
type conversation struct {
	ctx     context.Context
	conn    net.Conn
	replies *bufio.Reader
}

// begin gives the reply to MAIL FROM of a bounce, encrypted if the server wants it so.
func (c *conversation) begin(helo string) Reply {
	const mail = "MAIL FROM:<>"
	if reply := c.command("EHLO " + helo); reply.class() != 2 {
		return reply
	}
	reply := c.command(mail)
	if reply.Code != 530 { // RFC 3207 section 4: Must issue a STARTTLS command first
		return reply
	}
	if reply := c.command("STARTTLS"); reply.class() != 2 {
		return reply
	}
	// This is our own host, and nothing is sent: whatever its certificate says.
	c.conn = tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true})
	c.replies = bufio.NewReader(c.conn)
	if reply := c.command("EHLO " + helo); reply.class() != 2 {
		return reply
	}
	return c.command(mail)
}

func (c *conversation) command(line string) Reply {
	if err := c.wait(); err != nil {
		return Reply{Err: err}
	}
	if _, err := io.WriteString(c.conn, line+"\r\n"); err != nil {
		return Reply{Err: c.told(err)}
	}
	return c.reply()
}

// wait gives the server time for its next octets, unless the context has ended: then the deadline that this
// has set may just have been replaced.
func (c *conversation) wait() error {
	c.conn.SetDeadline(time.Now().Add(replyPatience))
	if c.ctx.Err() != nil {
		return c.told(nil)
	}
	return nil
}

// reply reads a reply to its last line.
func (c *conversation) reply() Reply {
	if err := c.wait(); err != nil {
		return Reply{Err: err}
	}
	const most = 100
	keywords := " "
	for range most {
		line, err := c.replies.ReadString('\n')
		if err != nil {
			return Reply{Err: c.told(err)}
		}
		line = strings.TrimRight(line, "\r\n")
		code, err := strconv.Atoi(line[:min(3, len(line))])
		if err != nil || code < 100 {
			return Reply{Err: fmt.Errorf("%.80q is not a reply", line)}
		}
		if len(line) > 4 {
			word, _, _ := strings.Cut(line[4:], " ")
			keywords += strings.ToUpper(word) + " "
		}
		if len(line) < 4 || line[3] != '-' {
			return Reply{Code: code, Text: line, Keywords: keywords}
		}
	}
	return Reply{Err: errors.New("the reply does not end")}
}

// told is what an error means to an operator.
func (c *conversation) told(err error) error {
	switch {
	case errors.Is(c.ctx.Err(), context.DeadlineExceeded):
		return errors.New("no reply in time")
	case c.ctx.Err() != nil:
		return c.ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no reply within %s", replyPatience)
	case errors.Is(err, io.EOF):
		return errors.New("the connection was closed without a reply")
	}
	return err
}
