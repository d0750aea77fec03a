// Package start makes the start of the program cheap, before most other packages are initialised. It imports
// nothing but runtime, because a package is initialised after those that it imports.
package start

import "runtime"

func init() {
	growStack(false)
	runtime.GOMAXPROCS(1)
}

// AllProcessors gives the process as many processors as any other Go program has.
//
// Without it, there is one: a run for one message, or for one connection of a lookup table, waits more than
// it computes, and computes one thing after another. With more processors it only starts and wakes more
// threads, which costs a twentieth of a run and a fifth of a look-up.
func AllProcessors() { runtime.SetDefaultGOMAXPROCS() }

// stackRoom is about what the pipeline needs, in octets.
const stackRoom = 48 << 10

// growStack makes the stack of this goroutine, which is that of main, large enough at once. Otherwise it
// would double several times, and each copy costs: it unwinds the stack, for which it reads tables of the
// program that nothing else needs.
//
// A function's frame is reserved when it is called, whatever it then does; so this memory is never touched.
//
//go:noinline
func growStack(touch bool) {
	if touch {
		var room [stackRoom]byte
		occupy(&room)
	}
}

//go:noinline
func occupy(room *[stackRoom]byte) { room[0] = 1 }
