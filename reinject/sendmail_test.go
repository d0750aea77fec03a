package reinject

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// program writes a shell script that stands for sendmail.
func program(t *testing.T, script string) *Reinjector {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "sendmail")
	if err := os.WriteFile(path, []byte("#!/bin/sh\ncd "+dir+"\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	target, err := New(Options{Target: "sendmail:" + path, SpoolDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func (r *Reinjector) beside(name string) string {
	return filepath.Join(filepath.Dir(r.carrier.(*sendmailTarget).path), name)
}

func TestSendmailIsRunWithTheEnvelopeInArgvAndTheOctetsAsTheyAre(t *testing.T) {
	target := program(t, `printf '%s\n' "$@" >>argv; cat >>stdin`)
	octets := "Subject: x\n\n.\nbare\rCR and \x00\r\nno end"
	results, err := target.Send(guarded(t), stranger, nil, []Transaction{
		{Recipients: []Recipient{{Address: "-oQ/tmp@example.net"}, {Address: "a, b@example.net"}},
			Content: message(octets)},
		{Sender: "alice@example.com", Recipients: []Recipient{{Address: "bob@example.net"}},
			Content: message("2")},
	})
	if err != nil || len(results) != 2 {
		t.Fatalf("got %+v, %v", results, err)
	}
	argv, _ := os.ReadFile(target.beside("argv"))
	want := "-G\n-i\n-f\n<>\n--\n-oQ/tmp@example.net\n\"a, b\"@example.net\n-G\n-i\n-f\nalice@example.com\n" +
		"--\nbob@example.net\n"
	if string(argv) != want {
		t.Errorf("argv %q, want %q", argv, want)
	}
	if stdin, _ := os.ReadFile(target.beside("stdin")); string(stdin) != octets+"2" {
		t.Errorf("stdin %q", stdin)
	}
	left, _ := filepath.Glob(target.beside("postmend-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestEveryEndOfSendmailButSuccessIsTemporary(t *testing.T) {
	for script, want := range map[string]string{
		"cat >/dev/null; echo 'fatal: no such user' >&2; exit 67": "fatal: no such user",
		"cat >/dev/null; echo on stdout; exit 77":                 "on stdout",
		"kill -9 $$": "killed",
		"exit 75":    "75",
		"i=0; while [ $i -lt 5000 ]; do echo xxxxxxxx; i=$((i+1)); done; exit 1": "xxxxxxxx",
	} {
		_, err := program(t, script).Send(guarded(t), Client{}, nil, simple())
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Stage != "sendmail" || !e.Temporary() || !strings.Contains(err.Error(), want) ||
			len(e.Text) > 200 {
			t.Errorf("%q: got %v, want a temporary error that says %q", script, err, want)
		}
	}
	target, _ := New(Options{Target: "sendmail:" + t.TempDir() + "/none"})
	if _, err := target.Send(guarded(t), Client{}, nil, simple()); err == nil ||
		!strings.Contains(err.Error(), "none") {
		t.Errorf("got %v, want an error that names the program", err)
	}
}

func TestOutputOfSendmailIsKeptUpToItsBound(t *testing.T) {
	var b cappedBuffer
	// As os/exec copies it.
	n, err := io.Copy(&b, io.LimitReader(rand.Reader, 1<<20))
	if n != 1<<20 || err != nil || len(b.kept) != maxOutput {
		t.Errorf("took %d octets, %v, and kept %d, want %d", n, err, len(b.kept), maxOutput)
	}
}

func TestSendmailIsNotRunIfTheCallerDisagreesOrContentCannotBeHadWhole(t *testing.T) {
	target := program(t, "touch started")
	no := errors.New("no")
	if _, err := target.Send(guarded(t), Client{}, func() (context.Context, error) { return nil, no },
		simple()); err != no {
		t.Errorf("got %v", err)
	}
	txs := twoTransactions()
	txs[1].Content = brokenContent{errors.New("disk trouble")}
	if _, err := target.Send(guarded(t), Client{}, nil, txs); err == nil ||
		!strings.Contains(err.Error(), "disk trouble") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(target.beside("started")); err == nil {
		t.Error("it was run all the same")
	}
}

func TestTheContextEndsSendmailAndItsChildren(t *testing.T) {
	// The child holds the fifo open until it is killed: reading it to the end is the proof.
	target := program(t, `mkfifo fifo; touch ready; (echo started; exec sleep 1000) >fifo`)
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := target.Send(ctx, Client{}, nil, simple())
		ended <- err
	}()
	waitFor(t, target.beside("ready"))
	fifo, err := os.Open(target.beside("fifo"))
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	started := make([]byte, len("started\n"))
	if _, err := fifo.Read(started); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	if _, err := fifo.Read(started); err == nil {
		t.Error("the child still writes")
	}
}

func TestSendmailIsWaitedForUnderTheContextOfCommit(t *testing.T) {
	target := program(t, `mkfifo fifo; touch ready; read line <fifo; cat >/dev/null`)
	first, cancel := context.WithCancel(guarded(t))
	ended := make(chan error, 1)
	go func() {
		_, err := target.Send(first, Client{},
			func() (context.Context, error) { return guarded(t), nil }, simple())
		ended <- err
	}()
	waitFor(t, target.beside("ready"))
	cancel()
	if err := os.WriteFile(target.beside("fifo"), []byte("go on\n"), 0); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("sendmail was not waited for: %v", err)
	}
}

func TestStdoutGetsTheOctetsAndNothingElse(t *testing.T) {
	var out bytes.Buffer
	target, err := New(Options{Target: "stdout:", Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.Send(guarded(t), stranger, nil, twoTransactions()); err != nil ||
		out.String() != hello+"second\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
	target, _ = New(Options{Target: "stdout:"})
	if _, err := target.Send(guarded(t), stranger, nil, simple()); err == nil {
		t.Error("a message that goes nowhere counts as handed over")
	}
}
