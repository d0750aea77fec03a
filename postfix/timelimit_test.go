package postfix

import (
	"testing"
	"time"
)

func TestARunEndsBeforeTheTimeLimitThatSetupWrites(t *testing.T) {
	const limit = 300 * time.Second // postfix/setup
	for _, deadline := range []time.Duration{time.Second, time.Minute, 2 * time.Minute} {
		if longest := LongestRun(deadline); longest >= limit || longest <= deadline {
			t.Errorf("deadline %v: a run may take %v, limit %v", deadline, longest, limit)
		}
	}
	// `postmend check` asks for five times the deadline.
	if deadline := time.Hour; LongestRun(deadline) <= deadline || LongestRun(deadline) >= 5*deadline {
		t.Errorf("deadline %v: a run may take %v", deadline, LongestRun(deadline))
	}
}
