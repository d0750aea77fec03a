package main

import (
	"context"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"postmend/filter"
)

// parent is the process that started us, asked for before anything that takes time. If it ends, we get another one.
var parent = os.Getppid()

// forsaken is the failure for mail that nobody waits for any more: Postfix keeps it and will start us again, and what came on standard input may be cut
// short.
var forsaken = &filter.Failure{Reason: "the process that started postmend has ended"}

// isForsaken tells whether our caller is gone.
//
// It may have gone before we could ask who it is, and process 1 taken its place: pipe(8) never is that, even where master(8) is. By hand, it can be: that is
// what a container looks like. Where another process takes in the orphans, or a script stands between pipe(8) and us, it shows in that
// nobody is left to read our status line.
func isForsaken(then, now int, queueID string, stdout any) bool {
	return now != then || queueID != "" && (then == 1 || isUnread(stdout))
}

// isUnread tells whether w is a pipe or socket without anybody at its other end.
func isUnread(w any) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return false
	}
	unread := false
	err = conn.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(poll, 0)
		unread = err == nil && n == 1 && poll[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
	})
	return err == nil && unread
}

// guard sees to it that a run ends in time, whatever hangs. The run has its goroutine, and the guard none until it is late: each one more costs every
// message.
type guard struct {
	start  time.Time
	timer  *time.Timer
	cancel []context.CancelFunc
	ended  atomic.Bool // whoever sets it tells the outcome
}

// grace is for the run to end by itself after its time, which it sees wherever it does not wait for a file or for standard input.
const grace = time.Second

// allow gives the run so much time from its start, in place of what it had before. Then the context ends, and a grace later giveUp is called.
func (g *guard) allow(limit time.Duration, giveUp func()) context.Context {
	if g.timer != nil && !g.timer.Stop() {
		select {} // until giveUp, which is at it, ends the process
	}
	deadline := g.start.Add(limit)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	g.cancel = append(g.cancel, cancel)
	g.timer = time.AfterFunc(time.Until(deadline.Add(grace)), func() {
		if g.ended.CompareAndSwap(false, true) {
			giveUp()
		}
	})
	return ctx
}

// end is for a run that came to its end by itself.
func (g *guard) end() {
	g.timer.Stop()
	if !g.ended.CompareAndSwap(false, true) {
		select {}
	}
	for _, cancel := range g.cancel {
		cancel()
	}
}
