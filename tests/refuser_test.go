package tests

import (
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"postmend/tests/listen"
)

// refuser is an SMTP server that answers as the local part of the recipient says.
type refuser struct {
	port string
	mu   sync.Mutex
	seen map[string]int // attempts by recipient
}

// refusal is what a receiver answers: at RCPT or, if late, after the message. A text of several lines is
// folded as RFC 5321 has it. It is given the first n times, or always if n is 0.
type refusal struct {
	late bool
	n    int
	code int
	text string
}

// refusals are by local part of the recipient; whoever is not here is taken.
var refusals = map[string]refusal{
	"gmail-dmarc": {late: true, code: 550, text: "5.7.26 Unauthenticated email from sender is not accepted " +
		"due to domain's\n5.7.26 DMARC policy. Please contact the administrator of sender domain if\n" +
		"5.7.26 this was a legitimate mail. To learn about the DMARC initiative, go\n" +
		"5.7.26 to https://support.google.com/mail/?p=DmarcRejection x - gsmtp"},
	"microsoft-dmarc": {late: true, code: 550, text: "5.7.509 Access denied, sending domain sender does " +
		"not pass DMARC verification and has a DMARC policy of reject."},
	"spf": {code: 550,
		text: "5.7.23 <x>: Recipient address rejected: Message rejected due to: SPF fail - not authorized"},
	"dkim": {late: true, code: 550,
		text: "5.7.20 No valid DKIM signature found: DKIM signature verification failed"},
	"neither": {late: true, code: 550, text: "5.7.26 This mail has been blocked because the sender " +
		"is unauthenticated.\n5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM."},
	"spam": {late: true, code: 554, text: "5.7.1 Spam message rejected"},
	"nobody": {code: 550,
		text: "5.1.1 <nobody>: Recipient address rejected: User unknown in virtual mailbox table"},
	"full": {code: 552, text: "5.2.2 The email account that you tried to reach is over quota"},
	"ptr": {code: 550,
		text: "5.7.25 The IP address sending this message does not have a PTR record setup"},
	"blocked": {code: 554,
		text: "5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org"},
	"odd": {code: 550, text: "5.9.9 computer says no \x1b[31mred"},
	"grey": {n: 1, code: 450,
		text: "4.2.0 <grey>: Recipient address rejected: Greylisted, try again in 300 seconds"},
	"busy": {code: 451, text: "4.3.2 Temporary server error. Please try again later"},
}

func startRefuser(t testing.TB) *refuser {
	t.Helper()
	r := &refuser{seen: map[string]int{}}
	address := listen.TCP(t, func(conn net.Conn) { r.serve(textproto.NewConn(conn)) })
	_, r.port, _ = net.SplitHostPort(address)
	return r
}

// answer gives what there is to say against a recipient.
func (r *refuser) answer(to string) (refusal, bool) {
	local, _, _ := strings.Cut(to, "@")
	answer, refuse := refusals[local]
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[to]++
	return answer, refuse && (answer.n == 0 || r.seen[to] <= answer.n)
}

func (r *refuser) serve(c *textproto.Conn) {
	say := func(code int, text string) {
		lines := strings.Split(text, "\n")
		for n, line := range lines {
			divider := "-"
			if n == len(lines)-1 {
				divider = " "
			}
			c.PrintfLine("%d%s%s", code, divider, line)
		}
	}
	say(220, "refuser ESMTP")
	var late *refusal
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		upper := strings.ToUpper(line)
		switch {
		case strings.HasPrefix(upper, "EHLO"):
			say(250, "refuser\n8BITMIME\nENHANCEDSTATUSCODES")
		case strings.HasPrefix(upper, "MAIL"):
			late = nil
			say(250, "2.1.0 Ok")
		case strings.HasPrefix(upper, "RCPT"):
			to := line[strings.IndexByte(line, '<')+1 : strings.IndexByte(line, '>')]
			if answer, refuse := r.answer(to); refuse && !answer.late {
				say(answer.code, answer.text)
				continue
			} else if refuse {
				late = &answer
			}
			say(250, "2.1.5 Ok")
		case upper == "DATA":
			say(354, "go on")
			if _, err := c.ReadDotBytes(); err != nil {
				return
			}
			if late != nil {
				say(late.code, late.text)
				continue
			}
			say(250, "2.0.0 Ok: queued as 1F2E3D4C5B6A")
		case upper == "QUIT":
			say(221, "2.0.0 Bye")
			return
		default:
			say(250, "2.0.0 Ok")
		}
	}
}
