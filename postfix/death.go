package postfix

import (
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// DieDeferring makes every way this process can die one that defers. Call it first in main.
//
// A Go program that panics, deadlocks or runs out of memory exits 2, which pipe(8) takes for a reason to
// bounce; with the "crash" traceback it dies of SIGABRT instead. Core dumps are switched off, because they
// would hold private keys. Writing to a pipe that Postfix has closed must give an error, not SIGPIPE: after
// a hand-over that death would make Postfix send the message again.
func DieDeferring() {
	debug.SetTraceback("crash")
	signal.Ignore(syscall.SIGPIPE)
	// Lowering a limit of one's own cannot fail.
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	// Neither may processes of the same user read keys from our memory.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
