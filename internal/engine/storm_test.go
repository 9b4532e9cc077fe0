package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"waggle/internal/job"
)

// TestStorm: whatever happens to jobs while they wait and run, each that is
// neither cancelled nor at fault gets the pictures of an undisturbed run and
// tells each step once.
func TestStorm(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rigged(t, func(t *testing.T, r *rig) { storm(t, r, rand.New(rand.NewPCG(seed, 1))) },
				func(r *rig, c *Config) {
					withModels(r, c)
					r.engines = 1 + int(seed%2)
					c.MaxBatch, c.Memory = 1+int(seed%4), 12*mib
					r.store.fail = int(seed)
				})
		})
	}
}

func storm(t *testing.T, r *rig, random *rand.Rand) {
	pick := func(n int) int { return random.IntN(n) }
	priorities := []job.Priority{job.High, job.Normal, job.Low}
	var ids []job.ID
	cancelled := map[job.ID]bool{}
	for i := range 25 {
		prompt := fmt.Sprint("job", i)
		for range pick(3) { // at most twice: no job is at fault
			r.fault(prompt, []func() error{lost, panics}[pick(2)])
		}
		ids = append(ids, r.submit(prompt, named(job.ID(prompt)), seeded(uint64(i)), steps(1+pick(12)), batchOf(1+pick(4)),
			wide(64*(1+pick(2))), priority(priorities[pick(3)]), onModel([]string{"scripted", "second"}[pick(2)])))
		time.Sleep(time.Duration(pick(10)) * stepTime / 2)
		switch id := ids[pick(len(ids))]; pick(8) {
		case 0:
			record, err := r.queue.Cancel(t.Context(), id)
			cancelled[id] = cancelled[id] || err == nil
			if last, ended := record.EndEvent(); err == nil && ended {
				r.events.Publish(t.Context(), id, last) // as whoever cancels a waiting job does
			}
		case 1, 2:
			r.queue.Pause(t.Context(), id)
		case 3:
			r.queue.Resume(t.Context(), id)
		}
	}
	for _, id := range ids {
		for !r.record(id).State.Final() { // a pause may come into force late
			r.queue.Resume(t.Context(), id)
			time.Sleep(10 * stepTime)
		}
		record := r.record(id)
		if cancelled[id] && record.State == job.Cancelled {
			continue
		}
		r.completes(id, *record.Request.Seed, record.Request.Steps)
	}
	time.Sleep(saveLimit)
	for spot := range r.kept.list() {
		if id := job.ID(spot[:len(spot)-1]); !cancelled[id] { // of those cancelled while they waited they go with their age
			t.Errorf("a checkpoint of %s is left", id)
		}
	}
}
