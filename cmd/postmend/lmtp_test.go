package main

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A configuration that cannot be used refuses no mail: lmtp(8) defers what a server does not greet.
func TestWithoutAConfigurationLMTPTakesNoMailAndBouncesNone(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.toml")
	if err := os.WriteFile(broken, []byte("hostnam = 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(t.TempDir(), "missing.toml"), broken} {
		conn, theirs := socketPair(t)
		status := make(chan int)
		go func() { status <- run([]string{"lmtp", "-c", file}, theirs, theirs, theirs) }()
		said, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.HasPrefix(said, "421 4.3.5 ") {
			t.Errorf("%s: %q, %v", file, said, err)
		}
		if got := <-status; got != 0 {
			t.Errorf("exit status %d", got)
		}
	}
}

// What the next hop does not take is deferred for each recipient, and the conversation goes on.
func TestALMTPConversationHasAReplyForEachRecipientOfEachMessage(t *testing.T) {
	w := newWorld(t, `target = "stdout:"`, `target = "smtp://127.0.0.1:9"`)
	conn, theirs := socketPair(t)
	status := make(chan int)
	go func() { status <- run([]string{"lmtp", "-c", w.config}, theirs, theirs, theirs) }()
	in := bufio.NewReader(conn)
	say := func(text string, replies ...string) {
		t.Helper()
		io.WriteString(conn, strings.ReplaceAll(text, "\n", "\r\n"))
		for _, want := range replies {
			line := ""
			for more := true; more; more = len(line) > 3 && line[3] == '-' {
				line, _ = in.ReadString('\n')
			}
			if !strings.HasPrefix(line, want) {
				t.Fatalf("to %q: %q, want %s", text, line, want)
			}
		}
	}
	say("LHLO mx.example.org\n", "220 mx.example.org", "250 ")
	for range 2 {
		say("XFORWARD NAME=x ADDR=192.0.2.1 IDENT=4D1\nMAIL FROM:<a@b.example>\nRCPT TO:<x@example.org>\n"+
			"RCPT TO:<y@example.org>\nDATA\n", "250", "250", "250", "250", "354")
		say("Received: from x by mx.example.org with ESMTP id 4D1; Sat, 28 Nov 2026 10:00:00 +0000\n"+
			"From: a@b.example\n\nhello\n.\n", "451 4.4.1 ", "451 4.4.1 ")
	}
	say("QUIT\n", "221")
	if got := <-status; got != 0 {
		t.Errorf("exit status %d", got)
	}
}
