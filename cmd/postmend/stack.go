package main

// stackRoom is about what the pipeline needs, in octets.
const stackRoom = 48 << 10

// growStack makes the stack of this goroutine large enough at once. It would grow by doubling, each time copying what is there by the tables
// of every function on it: of a run's cost, one part in twenty.
//
// A function's frame is asked for when it is called, whichever way it then goes; so the room is never touched.
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
