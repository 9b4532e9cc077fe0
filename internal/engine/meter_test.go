package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waggle/internal/job"
)

// tally is a Meter that counts.
type tally struct {
	mu    sync.Mutex
	count map[string]int
	took  time.Duration // all steps
}

func (t *tally) add(what string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count[fmt.Sprintf(what, args...)]++
}

func (t *tally) Stepped(model string, pictures int, took time.Duration) {
	t.add("%s: step of %d", model, pictures)
	t.took += took
}
func (t *tally) Drew(model string, took time.Duration) {
	t.add("%s: drew, took a while: %v", model, took >= 4*stepTime)
}
func (t *tally) Showed()                                 { t.add("showed") }
func (t *tally) Saved(_ time.Duration, err error)        { t.add("saved: %v", err) }
func (t *tally) Loaded(model string, took time.Duration) { t.add("%s: loaded in %v", model, took) }
func (t *tally) Failed(reason string)                    { t.add("failed: %s", reason) }
func (t *tally) Abandoned(reason string)                 { t.add("abandoned: %s", reason) }

// All that an engine does is told, once.
func TestMeter(t *testing.T) {
	m := &tally{count: map[string]int{}}
	rigged(t, func(t *testing.T, r *rig) {
		r.wait(r.submit("a cat", batchOf(3)))
		for _, f := range []func() error{lost, panics, hangs, outOfSpace, strange} {
			r.upset("a dog", []func() error{f})
			r.wait(r.submit("a dog", onModel("second")))
		}
		seats := r.node.Seats()
		if len(seats) != 1 || seats[0].Adapter != "gpu0" || seats[0].Status != job.Ready || !slices.Equal(seats[0].Models, []string{"second"}) {
			t.Errorf("seats: %+v", seats)
		}
		time.Sleep(72 * time.Hour) // the step that hung comes back and closes its device
	}, func(r *rig, c *Config) {
		c.Meter, c.CheckpointEvery = m, time.Nanosecond
		r.node.SetModels([]job.ModelInfo{{Name: "scripted"}, {Name: "second"}}, nil)
	})
	saved := 0
	maps.DeleteFunc(m.count, func(what string, n int) bool {
		if what == "saved: <nil>" {
			saved += n // they replace each other while they wait
		}
		return what == "saved: <nil>"
	})
	want := map[string]int{
		"scripted: loaded in 1s": 1, "scripted: step of 3": 4, "scripted: drew, took a while: true": 3,
		"second: loaded in 1s": 4, "second: step of 1": 3*4 + 2*1, "second: drew, took a while: true": 3,
		"failed: lost": 1, "failed: panic": 1, "failed: hung": 1, "failed: memory": 1, "failed: other": 1,
		"abandoned: lost": 1, "abandoned: panic": 1, "abandoned: hung": 1,
		"showed": 20,
	}
	if diff := cmp.Diff(want, m.count); diff != "" || saved < 4 {
		t.Errorf("saved %d checkpoints; told (-want +got):\n%s", saved, diff)
	}
}

// Every failure has one of the words that are documented.
func TestReasons(t *testing.T) {
	for err, want := range map[error]string{
		&hungError{time.Second}: "hung", &panicError{"x"}: "panic", lost(): "lost", outOfSpace(): "memory", errors.New("x"): "other",
	} {
		if got := reason(fmt.Errorf("step: %w", err)); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}
