package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// steering gives the first octets of a text that a terminal could take for more than a character, tabs and
// line ends aside.
func steering(text string) string {
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRuneInString(text[at:])
		if r == utf8.RuneError || r != '\n' && r != '\t' && !strconv.IsPrint(r) {
			return fmt.Sprintf("%+q in %+q", text[at:at+size], text[max(0, at-60):min(len(text), at+60)])
		}
		at += size
	}
	return ""
}

// TestNoCommandLetsAStrangerSteerTheTerminal: whatever a message, an envelope or a log has in it.
func TestNoCommandLetsAStrangerSteerTheTerminal(t *testing.T) {
	hostile := []string{
		"\x1b[31m", "\x07", "\x7f", "\x9b31m", "\x85", "\u009b31m", "\u0085", "\u2028", "\u202e", "\u200b",
		"\xff", "\x00",
	}
	if testing.Short() {
		hostile = hostile[:1]
	}
	for _, h := range hostile {
		w := newWorld(t)
		message := fmt.Sprintf("DKIM-Signature: v=1; a=rsa%[1]s; d=b%[1]s.example; s=s%[1]s; c=x%[1]s; "+
			"h=from; b=\nDKIM-Signature: v=1; a=rsa-sha256; d=b.example; i=x%[1]s@b.example; s=s; "+
			"h=from%[1]s; bh=x%[1]s; b=A\nAuthentication-Results: mx.example.org; dkim=pass "+
			"header.d=b%[1]s.example\nFrom: Alice %[1]s <alice%[1]s@b%[1]s.example>\nSubject: x\n\nbody\n", h)
		envelope := []string{"-f", "alice" + h + "@b" + h + ".example", "--client-address=192.0.2.1",
			"--helo=mail" + h + ".example", "--original-recipient=info" + h + "@example.org"}
		to := []string{"--", "bob" + h + "@remote" + h + ".example"}
		for _, args := range [][]string{
			append(append([]string{"explain"}, envelope...), to...),
			append(append([]string{"explain", "--json"}, envelope...), to...),
			append([]string{"verify"}, envelope[:4]...),
			{"dkim", "verify", "--resolver=127.0.0.1:9"},
			{"srs", "forward", "alice" + h + "@b.example"},
			{"srs", "reverse", "SRS0=x=y=b.example=alice" + h + "@srs.example.org"},
			{"explain" + h},
			{"explain", "--x" + h},
			{"report", "no" + h},
			{"check", "--no-dns", "--postfix-dir=/no" + h},
			{"check", "--json", "--no-dns", "--postfix-dir=/no" + h},
		} {
			_, out, errs := w.run(message, args...)
			if found := steering(out + errs); found != "" {
				t.Errorf("%q, %s: %s", h, args[0], found)
			}
			if out+errs == "" {
				t.Errorf("%q, %s prints nothing", h, args[0])
			}
		}
		filter := append(append([]string{"filter"}, envelope...), to...)
		w.run(message, filter...)
		if found := steering(w.logged()); found != "" {
			t.Errorf("%q: the log has %s", h, found)
		}
		_, _, status := w.run(strings.ReplaceAll(message, "From: ", "From"), filter...)
		if found := steering(status); found != "" {
			t.Errorf("%q: the status line has %s", h, found)
		}
		w.logged()
	}
}

// A person who types the name alone wants to know what there is. Postfix, which reads from a pipe, is told
// of a slip in master.cf.
func TestTheNameAloneGivesHelpOnATerminal(t *testing.T) {
	master, terminal := newTerminal(t)
	if exit := run(nil, terminal, terminal, terminal); exit != 0 {
		t.Errorf("exit status %d", exit)
	}
	text := make([]byte, 64<<10)
	n, err := master.Read(text)
	if err != nil || !strings.Contains(string(text[:n]), "content filter for Postfix") {
		t.Errorf("%q, %v", text[:n], err)
	}
}

// newTerminal gives both ends of a pseudoterminal (pty(7)).
func newTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return master, terminal
}
