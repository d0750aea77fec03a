package reinject

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// sendmailTarget runs sendmail(1).
//
// Its exit status must not become ours: 69, 70 or 77 would bounce the message. Every failure is temporary.
type sendmailTarget struct {
	path     string
	spoolDir string
}

func (t *sendmailTarget) send(_ context.Context, _ Client, commit Commit, txs []checked) ([]Result, error) {
	var spooled []*os.File
	defer func() {
		for _, f := range spooled {
			f.Close()
		}
	}()
	for i := range txs {
		f, err := t.spool(&txs[i])
		if err != nil {
			return nil, &Error{Stage: stageContent, Err: err}
		}
		spooled = append(spooled, f)
	}
	// After killing sendmail we could not know whether the message is in the maildrop: so we wait for its
	// end.
	ctx, err := commit()
	if err != nil {
		return nil, err
	}
	for i := range txs {
		if err := t.run(ctx, &txs[i], spooled[i]); err != nil {
			return make([]Result, len(txs)), err
		}
	}
	return make([]Result, len(txs)), nil
}

// spool writes the content to an unlinked file. If sendmail read from a pipe and we died, it would send the
// part that it had read.
func (t *sendmailTarget) spool(tx *checked) (*os.File, error) {
	f, err := os.CreateTemp(t.spoolDir, "postmend-*")
	if err != nil {
		return nil, err
	}
	if err = os.Remove(f.Name()); err == nil {
		_, err = tx.Content.WriteTo(f)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lingering is how long a child of sendmail's may keep its output open after sendmail's end.
const lingering = 2 * time.Second

func (t *sendmailTarget) run(ctx context.Context, tx *checked, content *os.File) error {
	sender := tx.sender
	if sender == "" {
		sender = "<>"
	}
	// -G: not rewritten as a new submission. -i: a line with only a dot does not end the message. Quoted by
	// RFC 5321 and after "--", an address cannot become an option or two addresses.
	arguments := append([]string{"-G", "-i", "-f", sender, "--"}, tx.recipients...)
	cmd := exec.CommandContext(ctx, t.path, arguments...)
	var output cappedBuffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = content, &output, &output
	// A group of its own, so that ctx ends its children too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = lingering
	err := cmd.Run()
	if err == nil || cmd.ProcessState != nil && cmd.ProcessState.Success() {
		return nil // its children, or ctx, may have ended later
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return &Error{Stage: stageSendmail,
		Text: printable(bytes.ReplaceAll(output.kept, lf, []byte(" "))), Err: err}
}

// cappedBuffer keeps the first 4 KiB and drops the rest without an error, so that the writer can go on. An
// embedded bytes.Buffer would have ReadFrom, by which io.Copy would avoid the limit.
type cappedBuffer struct{ kept []byte }

const maxOutput = 4 << 10 // octets

func (b *cappedBuffer) Write(p []byte) (int, error) {
	b.kept = append(b.kept, p[:min(len(p), maxOutput-len(b.kept))]...)
	return len(p), nil
}

// stdoutTarget writes messages to a stream as they are, one after another, to show what would be sent.
type stdoutTarget struct{ out io.Writer }

func (t *stdoutTarget) send(_ context.Context, _ Client, commit Commit, txs []checked) ([]Result, error) {
	if t.out == nil {
		return nil, &Error{Stage: stageStdout,
			Err: errors.New("no stream to write to; this target is for trials by hand")}
	}
	if _, err := commit(); err != nil {
		return nil, err
	}
	for i := range txs {
		if _, err := txs[i].Content.WriteTo(t.out); err != nil {
			return make([]Result, len(txs)),
				&Error{Stage: stageStdout, Err: fmt.Errorf("transaction %d: %w", i+1, err)}
		}
	}
	return make([]Result, len(txs)), nil
}
