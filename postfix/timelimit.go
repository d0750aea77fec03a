package postfix

import "time"

// LongestRun is how long a run with this deadline may take in all, the wait for the replies to the final
// dots included: RFC 5321 section 4.5.3.2.6 asks for ten minutes there, but pipe(8) returns a message whose
// command runs into `<transport>_time_limit`, for which `postmend setup` writes 300 s.
//
// That limit has to be above it.
func LongestRun(deadline time.Duration) time.Duration { return max(280*time.Second, 2*deadline) }
