package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/sd"
)

func encoded(t *testing.T, c *sd.Checkpoint) []byte {
	t.Helper()
	data, err := c.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// reached is the latent of a picture of seed 7 after some steps.
func reached(step int) float32 {
	value := float32(7)
	for i := 1; i <= step; i++ {
		value = value*1.37 + float32(i)
	}
	return value
}

// 50 steps of 0.1 s: a checkpoint after 2 s and after 4, and none when the
// picture is done.
func TestCheckpointsAreSavedAndDropped(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.completes(r.submit("a", steps(50)), 7, 50)
		time.Sleep(time.Second)
		if saved, left := r.kept.counts(); saved != 2 || left != 0 {
			t.Errorf("%d checkpoints were saved, %d left, want 2 and 0", saved, left)
		}
	})
}

func TestGoesOnFromCheckpoint(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.kept.put("one0", encoded(t, checkpoint(30, 50, reached(30))))
		id := r.submit("a", named("one"), steps(50))
		_, list := r.wait(id)
		if got := stepsOf(list); len(got) != 20 || got[0] != 31 || r.latent(id, 0) != undisturbed(7, 50) {
			t.Errorf("steps %v, latent %v; want steps 31…50 and the undisturbed picture", got, r.latent(id, 0))
		}
	})
}

// A checkpoint after the last step is all that a picture needs.
func TestGoesOnFromLastStep(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.kept.put("one0", encoded(t, checkpoint(4, 4, reached(4))))
		id := r.submit("a", named("one"))
		if record, list := r.wait(id); record.State != job.Complete || len(stepsOf(list)) != 0 || r.latent(id, 0) != undisturbed(7, 4) {
			t.Errorf("%+v, events %+v", record, list)
		}
	})
}

func TestCheckpointOfAnotherPicture(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.kept.put("one0", encoded(t, checkpoint(30, 50, 1)))
		r.completes(r.submit("other", named("one"), steps(50)), 7, 50)
	})
}

func TestDamagedCheckpoint(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		damaged := encoded(t, checkpoint(30, 50, 1))
		damaged[len(damaged)-1] ^= 1
		r.kept.put("one0", damaged)
		if record, _ := r.wait(r.submit("a", named("one"), steps(50))); record.State != job.Failed || !strings.Contains(record.Message, "checkpoint is damaged") {
			t.Errorf("%s: %q; want it to fail for the damaged checkpoint", record.State, record.Message)
		}
		r.completes(r.submit("a"), 7, 4)
	})
}

// Of a batch that was broken off, stored pictures are not drawn again, and the
// others go on, each from its own step.
func TestBatchGoesOn(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.completes(r.submit("a", named("whole"), batchOf(4), steps(8)), 7, 8)
		first, _ := r.store.Get(t.Context(), "whole", 0)
		r.store.Put(t.Context(), "one", 0, first)
		r.store.Put(t.Context(), "one", 1, []byte("damaged"))
		value := float32(9)
		for i := 1; i <= 3; i++ {
			value = value*1.37 + float32(i)
		}
		r.kept.put("one2", encoded(t, checkpoint(3, 8, value)))
		before := len(r.done().begun)
		record, list := r.wait(r.submit("a", named("one"), batchOf(4), steps(8)))
		for i := range 4 {
			if record.State != job.Complete || r.latent("one", i) != r.latent("whole", i) || record.Pictures[i] != r.record("whole").Pictures[i] {
				t.Errorf("picture %d is not that of the whole run: %+v", i, record)
			}
		}
		if got := stepsOf(list); len(r.done().begun)-before != 3 || len(got) != 32-11 || got[0] != 12 {
			t.Errorf("%d pictures were begun, steps %v; want 3 and 12…32", len(r.done().begun)-before, got)
		}
	})
}

// Pause ends a run after its step, resume goes on with the next.
func TestPauseAndResume(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		id := r.submit("a", steps(20), batchOf(2))
		r.atStep(id, 9)
		if _, err := r.queue.Pause(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		r.until(id, job.Paused)
		if _, kept := r.kept.counts(); kept != 2 || r.told().Status != job.Ready {
			t.Errorf("%d checkpoints are kept, the node is %s", kept, r.told().Status)
		}
		r.completes(r.submit("b"), 7, 4)
		if _, err := r.queue.Resume(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		r.completes(id, 7, 20)
		if _, list := r.wait(id); statesOf(list) != "running paused running" {
			t.Errorf("states %q", statesOf(list))
		}
	})
}

// stop_at_step pauses by itself, all pictures of a batch at that step.
func TestStopAtStep(t *testing.T) {
	for _, at := range []int{3, 10} { // 10: all steps are done, nothing is decoded
		rigged(t, func(t *testing.T, r *rig) {
			id := r.submit("a", steps(10), stopAt(at), batchOf(6))
			r.until(id, job.Paused)
			if list := r.follow(id, func(e job.Event) bool { return e.State == job.Paused }); len(stepsOf(list)) != 6*at || len(r.done().finished) != 0 {
				t.Errorf("stop at %d: paused after steps %v, %d pictures decoded", at, stepsOf(list), len(r.done().finished))
			}
			if _, err := r.queue.Resume(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			r.completes(id, 7, 10)
		})
	}
}

// relaunched is a queue whose jobs with the prompt "a" have been begun before.
type relaunched struct {
	*queue.Memory
	attempt int
}

type oldLease struct {
	queue.Lease
	attempt int
}

func (q relaunched) Next(ctx context.Context, c queue.Consumer) (queue.Lease, error) {
	l, err := q.Memory.Next(ctx, c)
	return oldLease{l, q.attempt}, err
}

func (l oldLease) Record() job.Record {
	record := l.Lease.Record()
	if record.Request.Prompt == "a" {
		record.Attempt = l.attempt
	}
	return record
}

// After lost runs a job shows that it is not the one that ended the process: by
// a step alone, and before its last attempt by all of them.
func TestAloneAfterLostRuns(t *testing.T) {
	for attempt, alone := range map[int]int{2: 1, 3: 5} {
		rigged(t, func(t *testing.T, r *rig) {
			a, b := r.submit("a", steps(5)), r.submit("b", steps(5))
			r.completes(a, 7, 5)
			r.completes(b, 7, 5)
			for i, round := range r.done().rounds {
				if (len(round) == 1) != (i < alone || i >= 5) {
					t.Errorf("attempt %d, round %d: %v", attempt, i, round)
				}
			}
		}, func(r *rig, c *Config) { c.Queue = relaunched{r.queue, attempt} })
	}
}

func TestCancelWinsOverPause(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		id := r.submit("a", steps(20))
		r.atStep(id, 2)
		r.queue.Pause(t.Context(), id)
		r.queue.Cancel(t.Context(), id)
		if record, _ := r.wait(id); record.State != job.Cancelled {
			t.Errorf("%s", record.State)
		}
	})
}

// Shutdown hands jobs back at their last step; no event ends their streams.
func TestShutdownHandsBack(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		id, other := r.submit("a", steps(50)), r.submit("b", steps(50))
		r.atStep(id, 10)
		began := time.Now()
		if err := r.stop(); err != nil || time.Since(began) > stepTime {
			t.Errorf("run: %v after %v", err, time.Since(began))
		}
		for _, id := range []job.ID{id, other} {
			if record := r.record(id); record.State != job.Queued || record.Attempt != 1 {
				t.Errorf("%+v", record)
			}
			list := r.follow(id, func(e job.Event) bool { return e.Final() || e.State == job.Queued })
			var c sd.Checkpoint
			if err := c.UnmarshalBinary(r.kept.get(string(id) + "0")); err != nil || c.Step != len(stepsOf(list)) || statesOf(list) != "running queued" {
				t.Errorf("checkpoint after step %d, %d steps told, states %q, %v", c.Step, len(stepsOf(list)), statesOf(list), err)
			}
		}
		if n := r.told(); n.Status != job.Stopped {
			t.Errorf("node is %s", n.Status)
		}
	})
}

// A job that was asked to pause in its last step before the end is paused.
func TestShutdownOfPausing(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		id := r.submit("a", steps(20))
		r.atStep(id, 5)
		r.queue.Pause(t.Context(), id)
		r.stop()
		list := r.follow(id, func(e job.Event) bool { return e.State == job.Paused || e.State == job.Queued })
		if got := r.record(id).State; got != job.Paused || statesOf(list) != "running paused" {
			t.Errorf("the job is %s after states %q", got, statesOf(list))
		}
	})
}

// A picture that could not be stored before the end is drawn up to its last
// step: what comes next has only to decode it.
func TestShutdownWhileStoring(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		id := r.submit("a", named("one"))
		r.atStep(id, 4)
		time.Sleep(stepTime)
		if err := r.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
		var c sd.Checkpoint
		if err := c.UnmarshalBinary(r.kept.get("one0")); err != nil || c.Step != 4 || r.record(id).State != job.Queued {
			t.Errorf("the job is %s, its checkpoint after step %d, %v", r.record(id).State, c.Step, err)
		}
	}, func(r *rig, _ *Config) { r.store.fail = 1000 })
}

// A step that does not end keeps nobody from stopping: its job is handed back
// at the step before all the same, with its checkpoint. So does a store of
// checkpoints that gives no answer.
func TestShutdownStuck(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		rigged(t, func(t *testing.T, r *rig) {
			r.kept.stuck = stuck
			r.upset("stuck", times(1, hangs))
			id, other := r.submit("stuck", named("one")), r.submit("other")
			r.atStep(id, 1)
			time.Sleep(stepTime * 2)
			began := time.Now()
			if err := r.stop(); !errors.Is(err, ErrStepRunning) || time.Since(began) > time.Second+lastWrite {
				t.Errorf("run: %v after %v", err, time.Since(began))
			}
			if _, kept := r.kept.counts(); kept != 2 && !stuck {
				t.Errorf("%d checkpoints kept, want 2", kept)
			}
			time.Sleep(25 * time.Hour) // the step ends and finds that it is no longer wanted
			for _, id := range []job.ID{id, other} {
				if got := r.record(id).State; got != job.Queued {
					t.Errorf("the job is %s", got)
				}
			}
		})
	}
}
