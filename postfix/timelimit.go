package postfix

import "time"

// LongestRun is how long a run with this deadline may take, including the wait for the replies to the final
// dots. RFC 5321 section 4.5.3.2.6 asks for ten minutes for those, but pipe(8) returns a message if its
// command reaches `<transport>_time_limit`, for which `postmend setup` writes 300 s. That limit must be
// above LongestRun.
func LongestRun(deadline time.Duration) time.Duration { return max(280*time.Second, 2*deadline) }
