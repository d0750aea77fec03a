package setup

import (
	"bufio"
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestAConversationEndsWithItsContext: also if the context ends between two commands.
func TestAConversationEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe() // where nobody reads or answers
		defer ours.Close()
		ctx, end := context.WithCancel(context.Background())
		end()
		began := time.Now()
		c := &conversation{ctx: ctx, conn: theirs, replies: bufio.NewReader(theirs)}
		for what, reply := range map[string]Reply{
			"command": c.command("RCPT TO:<a@b>"), "greeting": c.reply(),
		} {
			if reply.Err != context.Canceled {
				t.Errorf("%s: %v", what, reply)
			}
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("it waited %v", waited)
		}
	})
}
