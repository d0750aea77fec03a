package postfix

import (
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// DieDeferring makes Postfix defer the message in whatever way this process dies. Call it first in main.
//
// A Go program that panics, deadlocks or runs out of memory exits 2, for which pipe(8) bounces the message;
// with the "crash" traceback it dies of SIGABRT instead. Core dumps are switched off, because they would
// contain private keys. Writing to a pipe that Postfix has closed must give an error, not SIGPIPE: after a
// hand-over, Postfix would send the message again.
func DieDeferring() {
	debug.SetTraceback("crash")
	signal.Ignore(syscall.SIGPIPE)
	// Lowering the process's own limit cannot fail.
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	// Other processes of the same user must not read keys from our memory.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
