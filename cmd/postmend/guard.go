package main

import (
	"context"
	"os"
	"sync/atomic"
	"time"
)

// parent is the process that started us, read before anything that takes time. If it ends, we get another
// one.
var parent = os.Getppid()

// isForsaken tells whether our caller is gone. Then Postfix keeps the mail and will start us again, and
// standard input may have been cut short.
//
// It may have ended before we read its number, so that process 1 has taken its place. pipe(8) is never
// process 1, even if master(8) is; by hand, in a container, the caller can be. If another process adopts
// orphans, or a script runs between pipe(8) and us, the sign is that nobody is left to read our status line.
func isForsaken(then, now int, queueID string, stdout any) bool {
	return now != then || queueID != "" && (then == 1 || isUnread(stdout))
}

// guard makes sure that a run ends in time, whatever hangs. It has no goroutine until the run is late,
// because a goroutine costs time for every message.
type guard struct {
	start  time.Time
	timer  *time.Timer
	cancel []context.CancelFunc
	ended  atomic.Bool // whoever sets it reports the outcome
}

// grace is the time for the run to end by itself after its deadline, which it notices unless it waits for a
// file or for standard input.
const grace = time.Second

// allow sets the run's time, counted from its start. After that the context ends, and after grace giveUp is
// called.
func (g *guard) allow(limit time.Duration, giveUp func()) context.Context {
	if g.timer != nil && !g.timer.Stop() {
		select {} // giveUp is running, and ends the process
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

// end is for a run that ended by itself.
func (g *guard) end() {
	g.timer.Stop()
	if !g.ended.CompareAndSwap(false, true) {
		select {}
	}
	for _, cancel := range g.cancel {
		cancel()
	}
}
