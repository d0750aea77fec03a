package tally

import (
	"math"

	"postmend/postfix/maillog"
)

// maxSteps bounds a series; when there are more, steps are joined in pairs.
const maxSteps = 768

// series counts over time, in steps of an hour or a power of two of hours.
type series struct {
	width   int64
	classes int
	steps   map[int64]*step // by start
}

type step struct {
	delivered int64
	refused   []int64 // by class
}

func newSeries(classes int) *series {
	return &series{width: 3600, classes: classes, steps: map[int64]*step{}}
}

func (s *series) add(o *maillog.Outcome, class int) {
	if o.Status != maillog.Delivered && o.Status != maillog.Refused {
		return
	}
	at := s.at(o.At)
	if o.Status == maillog.Delivered {
		at.delivered++
	} else {
		at.refused[class]++
	}
	for len(s.steps) > maxSteps {
		s.widen()
	}
}

func (s *series) at(time int64) *step {
	start := time - time%s.width
	found := s.steps[start]
	if found == nil {
		found = &step{refused: make([]int64, s.classes)}
		s.steps[start] = found
	}
	return found
}

func (s *series) widen() {
	old := s.steps
	s.width, s.steps = s.width*2, map[int64]*step{}
	for start, part := range old {
		whole := s.at(start)
		whole.delivered += part.delivered
		for class, n := range part.refused {
			whole.refused[class] += n
		}
	}
}

// histogram counts durations in steps that grow by a tenth, from a millisecond to some minutes.
type histogram struct {
	n     int64
	sum   float64
	max   float64
	steps [150]int64
}

const (
	shortest = 0.001
	growth   = 1.1
)

func (h *histogram) add(seconds float64) {
	n := 0
	if seconds > shortest {
		n = min(int(math.Ceil(math.Log(seconds/shortest)/math.Log(growth))), len(h.steps)-1)
	}
	h.steps[n]++
	h.n++
	h.sum += seconds
	h.max = max(h.max, seconds)
}

// quantile gives the upper end of the step that the part q of all does not exceed.
func (h *histogram) quantile(q float64) float64 {
	var sum int64
	for n, count := range h.steps {
		if sum += count; float64(sum) >= q*float64(h.n) {
			return min(shortest*math.Pow(growth, float64(n)), h.max)
		}
	}
	return h.max
}
