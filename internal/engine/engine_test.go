package engine

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"waggle/internal/job"
	"waggle/internal/picture"
	"waggle/internal/queue"
)

func TestPicture(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		id := r.submit("a lighthouse", func(q *job.Request) {
			q.Sampler, q.Schedule, q.NegativePrompt, q.ClipSkip = "dpmpp_2m", "karras", "fog", 2
			q.CFGRescale = 0.7
		})
		r.completes(id, 7, 4)
		record, list := r.wait(id)
		if record.Elapsed != loadTime*0+4*stepTime || statesOf(list) != "running" || len(list) != 6 {
			t.Errorf("elapsed %v, events %+v", record.Elapsed, list)
		}
		if p, ok := r.events.Preview(t.Context(), id, 4); !ok || p.Latent.At(0, 0, 0) != 4 {
			t.Errorf("preview of the last step: %+v, %v", p, ok)
		}
		file, _ := r.store.Get(t.Context(), id, 0)
		got, ok, err := picture.ParametersOf(file)
		if err != nil || !ok || got.Prompt != "a lighthouse" || got.Negative != "fog" || got.Sampler != "DPM++ 2M" ||
			got.Schedule != "Karras" || got.Seed != 7 || got.Steps != 4 || got.Model != "scripted" {
			t.Errorf("metadata: %+v, %v, %v", got, ok, err)
		}
		if !slices.Contains(got.Extra, picture.Field{Key: "CFG rescale", Value: "0.7"}) || r.done().begun[0].GuidanceRescale != 0.7 {
			t.Errorf("rescaling of guidance: metadata %+v, drawn with %v", got.Extra, r.done().begun[0].GuidanceRescale)
		}
	})
}

// Pictures of a job share steps; each executed step has an event, counted over
// all of them, and previews show the first that is not done.
func TestBatch(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		id := r.submit("a", batchOf(6), func(q *job.Request) { q.GuidanceScale = 0 })
		r.completes(id, 7, 4)
		record, list := r.wait(id)
		if last := list[24]; last.Total != 24 || last.Type != job.PreviewEvent || len(list[25].Images) != 6 {
			t.Errorf("last step %+v, end %+v", last, list[25])
		}
		if len(record.Pictures) != 6 || record.Pictures[5].Seed != 12 {
			t.Errorf("pictures %+v", record.Pictures)
		}
		if len(r.done().rounds) != 8 || len(r.done().rounds[0]) != 4 || len(r.done().rounds[7]) != 2 {
			t.Errorf("rounds %v, want 4 of 4 pictures and 4 of 2", r.done().rounds)
		}
		for i, q := range r.done().begun {
			if q.Guidance == 0 || q.Guidance > 1 {
				t.Errorf("picture %d: guidance %g: 0 must not become the model's own", i, q.Guidance)
			}
		}
	})
}

// countingNodes is a queue that counts how often the node's record is written.
type countingNodes struct {
	*queue.Memory
	writes *atomic.Int64
}

func (q countingNodes) PutNode(ctx context.Context, n job.Node) error {
	q.writes.Add(1)
	return q.Memory.PutNode(ctx, n)
}

// The node's record is written when it changes, and not at every step.
func TestNodeIsWrittenSeldom(t *testing.T) {
	var writes atomic.Int64
	rigged(t, func(t *testing.T, r *rig) {
		time.Sleep(2 * loadTime)
		before := r.told()
		written := writes.Load()
		r.completes(r.submit("a", steps(100)), 7, 100)
		if after := r.told(); after.Status != before.Status || writes.Load()-written > 4 {
			t.Errorf("the record was written %d times for a job", writes.Load()-written)
		}
	}, func(r *rig, c *Config) { r.node.queue = countingNodes{r.queue, &writes} })
}

func TestCancelWhileRunning(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		id, other := r.submit("a", steps(50)), r.submit("b", steps(10))
		r.atStep(id, 3)
		if _, err := r.queue.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		record, list := r.wait(id)
		last := list[len(list)-1]
		if record.State != job.Cancelled || len(stepsOf(list)) > 4 || job.EndMarker(last) != "[CANCELLED]" || last.Message != job.CancelMessage {
			t.Errorf("record %+v, events %+v", record, list)
		}
		r.completes(other, 7, 10)
	})
}

// The node's record says how many jobs it has begun, and since when it is
// there; jobs that come and go while it is busy do not have it written each.
func TestNodeTellsItsLoad(t *testing.T) {
	var writes atomic.Int64
	rigged(t, func(t *testing.T, r *rig) {
		began := time.Now()
		time.Sleep(2 * loadTime)
		if n := r.told(); n.Load.Running != 0 || n.Since.IsZero() || n.Since.After(began) {
			t.Errorf("at first: running %d, since %v", n.Load.Running, n.Since)
		}
		long := r.submit("long", steps(150))
		r.atStep(long, 1)
		written := writes.Load()
		for i := range 8 {
			r.completes(r.submit("short "+string(rune('a'+i)), steps(4), priority(job.High)), 7, 4)
		}
		r.submit("beside", steps(150))
		time.Sleep(2 * othersEvery)
		if n := r.told(); n.Load.Running != 2 || n.Status != job.Busy {
			t.Errorf("with two jobs: running %d, %s", n.Load.Running, n.Status)
		}
		seconds := int64(time.Since(began)/time.Second) + 1
		if n := writes.Load() - written; n > seconds {
			t.Errorf("the record was written %d times in %d s", n, seconds)
		}
		r.wait(long)
	}, func(r *rig, c *Config) { r.node.queue = countingNodes{r.queue, &writes} })
}

func TestTooLong(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		record, _ := r.wait(r.submit("a", steps(150)))
		if record.State != job.Failed || !strings.Contains(record.Message, "took longer") {
			t.Errorf("%+v", record.Outcome)
		}
	}, func(_ *rig, c *Config) { c.JobLimit = time.Second })
}

func TestUnsupported(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		for name, change := range map[string]func(*job.Request){
			"image_transform": func(q *job.Request) { q.Operation = job.Transform },
			"hires":           func(q *job.Request) { q.Hires = &job.Hires{} },
			"tile":            func(q *job.Request) { q.Tile = "xy" },
			"f32":             func(q *job.Request) { q.Precision = "f32" },
		} {
			record, _ := r.wait(r.submit("a", change))
			if record.Kind != job.InvalidInput || !strings.Contains(record.Message, name) {
				t.Errorf("%s: %+v", name, record.Outcome)
			}
		}
		if len(r.done().begun) != 0 {
			t.Errorf("%d of them were drawn all the same", len(r.done().begun))
		}
	})
}

// A store that fails for a while delays a picture, and no other job's steps.
func TestStoreComesBack(t *testing.T) {
	rigged(t, func(t *testing.T, r *rig) {
		r.store.fail = 5
		id, other := r.submit("a"), r.submit("b", steps(100))
		r.completes(id, 7, 4)
		if r.record(other).State != job.Running {
			t.Errorf("the other job is %s", r.record(other).State)
		}
		r.completes(other, 7, 100)
		if got := r.record(other).Elapsed; got != 100*stepTime {
			t.Errorf("the other job took %v, want %v", got, 100*stepTime)
		}
	})
}
