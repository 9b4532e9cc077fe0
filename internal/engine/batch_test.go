package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"waggle/internal/job"
)

// Jobs of one shape share steps, each at its own: they join and leave between
// two of them.
func TestJoin(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		a := r.submit("a", steps(20))
		r.atStep(a, 5)
		b := r.submit("b", steps(6), seeded(9))
		r.completes(b, 9, 6)
		r.completes(a, 7, 20)
		together := 0
		for _, round := range r.done().rounds {
			if len(round) == 2 {
				together++
			}
		}
		if together != 6 || len(r.done().rounds) != 20 {
			t.Errorf("%d rounds, %d of them of both; want 20 and 6", len(r.done().rounds), together)
		}
	})
}

func TestMaxBatch(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		var ids []job.ID
		for range 5 {
			ids = append(ids, r.submit("a"))
		}
		for _, id := range ids {
			r.completes(id, 7, 4)
		}
		if largest := slices.Max(sizes(r.done().rounds)); largest != 2 {
			t.Errorf("%d pictures in a step, want 2", largest)
		}
	}, func(_ *rig, c *Config) { c.MaxBatch = 2 })
}

// No more pictures share a step than were planned to fit into memory.
func TestBatchWithinMemory(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.completes(r.submit("a", batchOf(4)), 7, 4)
		if largest := slices.Max(sizes(r.done().rounds)); largest != 3 {
			t.Errorf("%d pictures in a step, want 3: 5 MiB and 1 for each more, in 7", largest)
		}
	}, func(_ *rig, c *Config) { c.Memory = 7*mib + mib/2 })
}

// A batch that does not fit after all is halved.
func TestBatchOutOfMemory(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.upset("a", times(1, outOfSpace))
		r.completes(r.submit("a", batchOf(4), steps(9)), 7, 9)
		if largest := slices.Max(sizes(r.done().rounds[6:])); largest != 2 {
			t.Errorf("%d pictures in a step after one of 4 did not fit, want 2: %v", largest, sizes(r.done().rounds))
		}
	})
}

// The first in line is not passed over: one of another shape waits until the
// batch has ended, and those behind it wait with it.
func TestNobodyIsPassedOver(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		a := r.submit("a", steps(10))
		r.atStep(a, 2)
		b, c := r.submit("b", wide(128)), r.submit("c")
		for _, id := range []job.ID{a, b, c} {
			r.completes(id, 7, r.record(id).Request.Steps)
		}
		if order := strings.Join(r.done().finished, ""); order != "abc" || slices.Max(sizes(r.done().rounds)) != 1 {
			t.Errorf("finished %s in steps of %v", order, sizes(r.done().rounds))
		}
	})
}

// A job that is done before one of its priority that was begun earlier waits
// with its end, but its picture is decoded; another priority does not wait.
func TestOrderOfCompletion(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		long, short, low := r.submit("long", steps(30)), r.submit("short", steps(3)), r.submit("low", steps(3), priority(job.Low))
		r.completes(low, 7, 3)
		if _, err := r.store.Get(t.Context(), short, 0); err != nil || r.record(short).State != job.Running {
			t.Errorf("the short one is %s, picture: %v; want it to wait for its end", r.record(short).State, err)
		}
		r.completes(long, 7, 30)
		r.completes(short, 7, 3)
		if !r.record(short).Finished.After(r.record(low).Finished) || r.record(short).Finished.Before(r.record(long).Finished) {
			t.Errorf("finished: long %v, short %v", r.record(long).Finished, r.record(short).Finished)
		}
	})
}

// What holds an end back is gone with a pause or a cancel too.
func TestOrderOfCompletionAfterPause(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		long, short := r.submit("long", steps(100)), r.submit("short", steps(3))
		r.atStep(long, 10)
		if got := r.record(short).State; got != job.Running {
			t.Errorf("the short one is %s", got)
		}
		r.queue.Pause(t.Context(), long)
		r.completes(short, 7, 3)
	})
}

// A higher priority of another shape takes the place of lower ones, which go on
// afterwards, bit for bit.
func TestPreempt(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		a, b := r.submit("a", steps(20)), r.submit("b", steps(20), priority(job.Low))
		r.atStep(a, 5)
		high := r.submit("high", wide(128), priority(job.High))
		r.completes(high, 7, 4)
		r.completes(a, 7, 20)
		r.completes(b, 7, 20)
		for _, id := range []job.ID{a, b} {
			record, list := r.wait(id)
			if statesOf(list) != "running queued running" || record.Attempt != 1 {
				t.Errorf("%s: states %q, attempt %d", record.Request.Prompt, statesOf(list), record.Attempt)
			}
		}
		if r.done().finished[0] != "high" {
			t.Errorf("finished %v", r.done().finished)
		}
	})
}

// Where the batch is full one of the lower ones goes, the one begun last.
func TestPreemptFullBatch(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		a, b := r.submit("a", steps(20)), r.submit("b", steps(20))
		r.atStep(a, 5)
		high := r.submit("high", priority(job.High))
		r.completes(high, 7, 4)
		if _, list := r.wait(b); statesOf(list) != "running queued running" {
			t.Errorf("b: states %q", statesOf(list))
		}
		if _, list := r.wait(a); statesOf(list) != "running" {
			t.Errorf("a: states %q", statesOf(list))
		}
		r.completes(a, 7, 20)
		r.completes(b, 7, 20)
	}, func(_ *rig, c *Config) { c.MaxBatch = 2 })
}

// A higher priority that has room beside the others joins them.
func TestHigherJoins(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		a := r.submit("a", steps(20))
		r.atStep(a, 5)
		high := r.submit("high", priority(job.High))
		r.completes(high, 7, 4)
		r.completes(a, 7, 20)
		if _, list := r.wait(a); statesOf(list) != "running" || len(r.done().rounds) != 20 {
			t.Errorf("states %q in %d rounds", statesOf(list), len(r.done().rounds))
		}
	})
}

// An equal priority takes nobody's place, nor does a higher one while another
// of its own is being drawn.
func TestNoPreemptionAmongEquals(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		a := r.submit("a", steps(20), priority(job.High))
		r.atStep(a, 5)
		b := r.submit("b", wide(128), priority(job.High))
		r.completes(b, 7, 4)
		if _, list := r.wait(a); statesOf(list) != "running" || r.done().finished[0] != "a" {
			t.Errorf("states %q, finished %v", statesOf(list), r.done().finished)
		}
	})
}

// Two engines run two jobs at once, and nothing is done twice.
func TestTwoEngines(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		time.Sleep(2 * loadTime)
		if n := r.told(); n.Status != job.Ready || len(n.Devices) != 2 || n.Device != "gpu0, gpu1" {
			t.Errorf("node %+v", n)
		}
		began := time.Now()
		var ids []job.ID
		for i := range 6 {
			ids = append(ids, r.submit(fmt.Sprint(i), steps(10), wide(64+64*i)))
		}
		time.Sleep(stepTime / 2)
		if n := r.told(); n.Status != job.Busy || r.record(ids[0]).State != job.Running || r.record(ids[1]).State != job.Running {
			t.Errorf("node %+v, jobs %s and %s", n, r.record(ids[0]).State, r.record(ids[1]).State)
		}
		for _, id := range ids {
			r.completes(id, 7, 10)
		}
		if took := time.Since(began); took > 35*stepTime || len(r.done().begun) != 6 {
			t.Errorf("%v for 6 jobs of 10 steps on two devices, %d begun", took, len(r.done().begun))
		}
	}, func(r *rig, _ *Config) { r.engines = 2 })
}

// A job does not join others while another engine has nothing to do.
func TestIdleEngineTakes(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		time.Sleep(2 * loadTime)
		a, b := r.submit("a", steps(10)), r.submit("b", steps(10))
		r.completes(a, 7, 10)
		r.completes(b, 7, 10)
		if largest := slices.Max(sizes(r.done().rounds)); largest != 1 {
			t.Errorf("%d pictures in a step", largest)
		}
	}, func(r *rig, _ *Config) { r.engines = 2 })
}

// An adapter that cannot be opened leaves the work to the other, and is named.
func TestOneOfTwoAdapters(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.completes(r.submit("a"), 7, 4)
		r.completes(r.submit("b"), 7, 4)
		n := r.told()
		if n.Status != job.Ready || !strings.Contains(n.Reason, "adapter gpu1") || !strings.Contains(n.Reason, "on fire") {
			t.Errorf("node %+v", n)
		}
		time.Sleep(reopenEvery)
		if n := r.told(); n.Reason != "" {
			t.Errorf("after it came back: %+v", n)
		}
	}, func(r *rig, _ *Config) {
		r.engines = 2
		r.openErr["gpu1"] = slices.Repeat([]error{job.Errorf(job.Internal, "on fire")}, 2)
	})
}
