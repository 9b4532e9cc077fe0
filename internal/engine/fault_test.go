package engine

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"waggle/internal/job"
)

// What goes wrong with one job, how it ends, and that the next is well.
func TestFailures(t *testing.T) {
	for _, row := range []struct {
		prompt  string
		trouble []func() error
		kind    job.Kind
		message string
		opened  int
	}{
		{"memory", times(1, outOfSpace), job.OutOfMemory, "Out of GPU memory: a picture of 64×64 needs about 5 MiB", 1},
		{"wordy", nil, job.InvalidInput, "Invalid input: Prompt too long: 1300", 1},
		{"lost", times(3, lost), job.DeviceLost, "The GPU was lost", 4},
		{"panic", times(3, panics), job.Internal, "Internal error", 4},
		{"hang", times(3, hangs), job.DeviceLost, "The GPU gave no answer for 1m0s", 4},
		{"strange", times(1, strange), job.Internal, "Internal error", 1},
	} {
		t.Run(row.prompt, func(t *testing.T) {
			rigged(t, func(t *testing.T, r *rig) {
				r.upset(row.prompt, row.trouble)
				record, list := r.wait(r.submit(row.prompt))
				last := list[len(list)-1]
				if record.State != job.Failed || record.Kind != row.kind || !strings.HasPrefix(last.Message, row.message) || last.Type != job.ErrorEvent {
					t.Errorf("record %+v, last event %+v", record.Outcome, last)
				}
				r.completes(r.submit("fine"), 7, 4)
				if r.done().opened != row.opened {
					t.Errorf("the device was opened %d times, want %d", r.done().opened, row.opened)
				}
				if n := r.told(); n.Status != job.Ready || n.Reason != "" {
					t.Errorf("node %+v", n)
				}
				if row.prompt == "hang" {
					time.Sleep(72 * time.Hour) // the steps come back and close their devices
				}
			})
		})
	}
}

// A step that panics, hangs or loses the device twice: the job goes on after
// its last step each time.
func TestGoesOnAfterFault(t *testing.T) {
	for name, fault := range map[string]func() error{"lost": lost, "panic": panics, "hang": hangs} {
		t.Run(name, func(t *testing.T) {
			rigged(t, func(t *testing.T, r *rig) {
				r.upset("a", times(2, fault))
				id := r.submit("a", steps(6))
				r.completes(id, 7, 6)
				if record := r.record(id); record.Attempt != 1 {
					t.Errorf("attempt %d", record.Attempt)
				}
				if last := r.done().begun[len(r.done().begun)-1]; r.done().opened != 3 || last.From == nil || last.From.Step != 1 {
					t.Errorf("opened %d times, then begun from %+v, want step 1", r.done().opened, last.From)
				}
				if name == "hang" {
					time.Sleep(72 * time.Hour)
				}
			})
		})
	}
}

// A step that hangs has 60 s where a step takes 0.1; the first of its kind has
// longer, as it compiles.
func TestWatchdog(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.upset("a", times(1, hangs))
		id := r.submit("a")
		r.atStep(id, 1)
		began := time.Now()
		r.atStep(id, 2)
		if took := time.Since(began); took < stepAtLeast || took > stepAtLeast+2*time.Second {
			t.Errorf("the hung step was given %v", took)
		}
		time.Sleep(25 * time.Hour)
	})
	limits := timings{}
	kind := work{model: "m", count: 2}
	if got := limits.limit(kind); got != callLimit {
		t.Errorf("without a median: %v", got)
	}
	for _, seconds := range []time.Duration{50, 4, 5, 6, 5} {
		limits.add(kind, seconds*time.Second)
	}
	if got := limits.limit(kind); got != 200*time.Second {
		t.Errorf("with a median of 5 s and a longest of 50: %v, want 200 s", got)
	}
	for range stepsKept {
		limits.add(kind, 15*time.Second)
	}
	if got := limits.limit(kind); got != 300*time.Second {
		t.Errorf("with a median of 15 s: %v, want 20 times that", got)
	}
	if got := limits.limit(work{model: "m", count: 3}); got != callLimit {
		t.Errorf("another kind: %v", got)
	}
}

// When a step of several fails nobody knows who it was: each goes on alone, and
// only a failure alone counts.
func TestFaultInBatch(t *testing.T) {
	for name, fault := range map[string]func() error{"lost": lost, "panic": panics, "strange": strange, "hang": hangs} {
		t.Run(name, func(t *testing.T) {
			rigged(t, func(t *testing.T, r *rig) {
				r.upset("bad", times(4, fault))
				good, bad, fine := r.submit("good", steps(9)), r.submit("bad", steps(9)), r.submit("fine", steps(9), batchOf(2))
				r.completes(good, 7, 9)
				r.completes(fine, 7, 9)
				if record, _ := r.wait(bad); record.State != job.Failed || record.Kind == "" {
					t.Errorf("the bad one: %+v", record.Outcome)
				}
				alone := 0
				for _, round := range r.done().rounds {
					if len(round) == 1 && round[0] == "good" {
						alone++
					}
				}
				if last := r.done().rounds[len(r.done().rounds)-1]; alone != 1 || len(last) != 3 {
					t.Errorf("the good one was alone %d times, want once; the last round is of %v", alone, last)
				}
				if name == "hang" {
					time.Sleep(96 * time.Hour)
				}
			})
		})
	}
}

// A batch of one job: its pictures prove themselves one by one.
func TestFaultInOwnBatch(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.upset("a", times(1, lost))
		id := r.submit("a", batchOf(3), steps(5))
		r.completes(id, 7, 5)
		if want := []int{3, 3, 1, 1, 1, 3, 3, 3}; !slices.Equal(sizes(r.done().rounds), want) {
			t.Errorf("rounds of %v, want %v", sizes(r.done().rounds), want)
		}
	})
}

func sizes(rounds [][]string) (list []int) {
	for _, round := range rounds {
		list = append(list, len(round))
	}
	return list
}

// A device that cannot be opened again at once is tried for a while.
func TestDeviceComesBack(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.upset("a", times(1, lost))
		r.completes(r.submit("a"), 7, 4)
		if r.done().opened != 4 {
			t.Errorf("opened %d times", r.done().opened)
		}
	}, func(r *rig, _ *Config) {
		r.refuse("gpu0", []error{nil, errors.New("busy"), errors.New("busy"), nil})
	})
}

// One that stays away lets its jobs go; the node says why it is not ready, and
// so does the next job.
func TestDeviceStaysAway(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.upset("a", times(1, lost))
		record, list := r.wait(r.submit("a"))
		if record.State != job.Failed || record.Message != "no adapter" || statesOf(list) != "running queued running" {
			t.Errorf("%+v after states %q", record.Outcome, statesOf(list))
		}
		if n := r.told(); n.Status.Available() || n.Reason != "no adapter" {
			t.Errorf("node %+v", n)
		}
		r.refuse("gpu0", nil)
		r.completes(r.submit("b"), 7, 4)
		if n := r.told(); n.Status != job.Ready || n.Reason != "" {
			t.Errorf("node %+v", n)
		}
	}, func(r *rig, _ *Config) {
		r.refuse("gpu0", append([]error{nil}, slices.Repeat([]error{errors.New("no adapter")}, 100)...))
	})
}

func TestNoModel(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		record, _ := r.wait(r.submit("a"))
		if record.Kind != job.ModelNotFound || record.Message != `no model "x"` {
			t.Errorf("%+v", record.Outcome)
		}
		if n := r.told(); n.Status.Available() || n.Reason != `no model "x"` {
			t.Errorf("node %+v", n)
		}
	}, func(r *rig, _ *Config) { r.loadErr["scripted"] = job.Errorf(job.ModelNotFound, "no model %q", "x") })
}
