package tests

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postmend/filter/authn/dnsserver"
	"postmend/tests/listen"
	"postmend/tests/mta"
	"postmend/tests/peer"
)

// lmtpClient speaks LMTP as lmtp(8) does.
type lmtpClient struct {
	net.Conn
	in *bufio.Reader
}

func dialLMTP(address string) (*lmtpClient, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(2 * mta.Patience))
	c := &lmtpClient{conn, bufio.NewReader(conn)}
	return c, c.say("LHLO mx.example.org", "220", "250")
}

// say sends lines and wants replies that begin so.
func (c *lmtpClient) say(lines string, want ...string) error {
	if _, err := io.WriteString(c, strings.ReplaceAll(lines, "\n", "\r\n")+"\r\n"); err != nil {
		return err
	}
	for _, w := range want {
		for {
			line, err := c.in.ReadString('\n')
			if err != nil {
				return err
			}
			if !strings.HasPrefix(line, w) {
				return fmt.Errorf("%q, want %s", line, w)
			}
			if line[3] == ' ' {
				break
			}
		}
	}
	return nil
}

// begin sends the envelope of a message of our own side, and DATA.
func (c *lmtpClient) begin() error {
	return c.say("XFORWARD IDENT=4D1 SOURCE=LOCAL\nMAIL FROM:<box@example.org>\n"+
		"RCPT TO:<friend@example.net>\nDATA",
		"250", "250", "250", "354")
}

const ownMail = "From: box@example.org\nSubject: load\nDate: Mon, 2 Nov 2026 10:00:00 +0000\n" +
	"Message-ID: <load@example.org>\n\n"

// peakMemory is the most that a process has had in memory, in MiB.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib >> 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// TestServeTakesManyConnectionsWithFlatMemory: fifty and two hundred connections at once, clients that stop
// in the middle of a message, and bodies of 100 MB. The others are served meanwhile.
func TestServeTakesManyConnectionsWithFlatMemory(t *testing.T) {
	t.Parallel()
	f := &forwarder{t: t, remote: mta.StartSink(t)}
	f.Instance = &mta.Instance{Dir: mta.Folder(t)}
	f.config, f.program = filepath.Join(f.Dir, "postmend.toml"), filepath.Join(f.Dir, "postmend")
	build(t, f.program)
	sink := listen.TCP(t, discard)
	var err error
	f.dns, err = dnsserver.Start("")
	f.check(err)
	t.Cleanup(func() { f.dns.Close() })
	f.writeConfig("smtp://" + sink)
	spool := filepath.Join(f.Dir, "spool")
	f.check(os.Mkdir(spool, 0o755))
	chownNobody(t, spool)
	f.configure(`deadline = "50s"`, "deadline = \"100s\"\nspool_dir = \""+spool+"\"")
	s := &served{f: f, address: net.JoinHostPort("127.0.0.1", peer.FreePort(t))}
	s.start()
	t.Cleanup(s.kill)

	small := ownMail + strings.Repeat("line of the body\n", 600)
	s.atOnce(50, small)
	if peak := peakMemory(t, s.process.Process.Pid); peak > 40 {
		t.Errorf("50 connections took %d MiB", peak)
	} else {
		t.Logf("50 connections took %d MiB", peak)
	}
	for range 20 { // who stop in the middle
		c, err := dialLMTP(s.address)
		f.check(err)
		t.Cleanup(func() { c.Close() })
		f.check(c.begin())
		_, err = io.WriteString(c, strings.ReplaceAll(ownMail, "\n", "\r\n")+"half a li")
		f.check(err)
	}
	s.atOnce(200, small)
	after200 := peakMemory(t, s.process.Process.Pid)
	for range 2 {
		c, err := dialLMTP(s.address)
		f.check(err)
		f.check(c.begin())
		f.check(c.say(ownMail+strings.Repeat(strings.Repeat("x", 79)+"\n", 100<<20/81)+".", "250"))
		c.Close()
	}
	peak := peakMemory(t, s.process.Process.Pid)
	t.Logf("200 connections took %d MiB, with 100 MB bodies %d MiB", after200, peak)
	if peak > after200+20 {
		t.Errorf("bodies of 100 MB took %d MiB more", peak-after200)
	}
}

// atOnce sends a text over many connections. Each begins before any ends, so that all are open at once.
func (s *served) atOnce(connections int, text string) {
	s.f.t.Helper()
	var begun, ended sync.WaitGroup
	begun.Add(connections)
	for range connections {
		ended.Go(func() {
			c, err := dialLMTP(s.address)
			if err == nil {
				defer c.Close()
				err = c.begin()
			}
			begun.Done()
			begun.Wait()
			if err == nil {
				err = c.say(text+".", "250")
			}
			if err != nil {
				s.f.t.Error(err)
			}
		})
	}
	ended.Wait()
}

// discard is an SMTP server that takes everything and keeps nothing.
func discard(conn net.Conn) {
	in := bufio.NewReader(conn)
	io.WriteString(conn, "220 sink ESMTP\r\n")
	for data := false; ; {
		line, err := in.ReadSlice('\n')
		switch {
		case err == bufio.ErrBufferFull:
		case err != nil:
			return
		case data:
			if string(line) == ".\r\n" {
				data = false
				io.WriteString(conn, "250 2.0.0 Ok: queued as X\r\n")
			}
		case strings.HasPrefix(string(line), "DATA"):
			data = true
			io.WriteString(conn, "354 go on\r\n")
		case strings.HasPrefix(string(line), "EHLO"):
			io.WriteString(conn, "250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
		default:
			io.WriteString(conn, "250 2.0.0 Ok\r\n")
		}
	}
}
