package engine

import (
	"slices"
	"time"

	"waggle/internal/sd"
)

const (
	stepFactor   = 20               // a step that takes so many times the median hangs
	stepAtLeast  = 60 * time.Second // but not before this time,
	longestTimes = 4                // nor before so many times the longest step: one that compiled
	stepsKept    = 15               // of each kind, for the median
	kindsKept    = 64
)

// work is a kind of step: those of one kind take about the same time, but for
// the first on a device, which compiles.
type work struct {
	model string
	shape sd.Shape
	count int // drawings in the step
}

// timings are how long steps took.
type timings map[work]timing

type timing struct {
	latest  []time.Duration
	longest time.Duration
}

func (t timings) add(w work, d time.Duration) {
	if len(t) >= kindsKept {
		clear(t)
	}
	list := append(t[w].latest, d)
	t[w] = timing{list[max(0, len(list)-stepsKept):], max(t[w].longest, d)}
}

// limit is how long a step of this kind may take.
func (t timings) limit(w work) time.Duration {
	list := slices.Sorted(slices.Values(t[w].latest))
	if len(list) == 0 {
		return callLimit
	}
	return max(stepFactor*list[len(list)/2], stepAtLeast, longestTimes*t[w].longest)
}
