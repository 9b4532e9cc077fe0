package engine

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"waggle/internal/job"
	"waggle/internal/sd"
	"waggle/internal/store"
)

// shelf is Checkpoints in memory; saved counts.
type shelf struct {
	mu    sync.Mutex
	kept  map[string][]byte
	saved int
}

// counts are how many checkpoints were saved, and are there.
func (s *shelf) counts() (saved, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved, len(s.kept)
}

func (s *shelf) Save(_ context.Context, id job.ID, index int, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[fmt.Sprint(id, index)] = data
	s.saved++
	return nil
}

func (s *shelf) Load(_ context.Context, id job.ID, index int) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.kept[fmt.Sprint(id, index)]
	if !ok {
		return nil, store.ErrNotFound
	}
	return data, nil
}

func (s *shelf) Remove(_ context.Context, id job.ID, index int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, fmt.Sprint(id, index))
	return nil
}

// withShelf runs an engine whose jobs have the id "one" and find what is given.
func withShelf(t *testing.T, found []byte, test func(*testing.T, *rig, *shelf)) {
	s := &shelf{kept: map[string][]byte{}}
	if found != nil {
		s.kept["one0"] = found
	}
	run(t, func(t *testing.T, r *rig) { test(t, r, s) }, func(_ *rig, c *Config) { c.Checkpoints = s })
}

func one(r *job.Request) { r.ID, r.Steps = "one", 50 }

func encoded(t *testing.T, step int) []byte {
	t.Helper()
	data, err := (&sd.Checkpoint{Step: step, Total: 50, Latent: sd.Latent{Channels: 1, Height: 1, Width: 1, Data: []float32{1}}}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// 50 steps of 0.1 s: a checkpoint after 2 s and after 4, and none when the picture is done.
func TestCheckpointsAreSavedAndDropped(t *testing.T) {
	withShelf(t, nil, func(t *testing.T, r *rig, s *shelf) {
		id := r.submit("a star", one)
		time.Sleep(4500 * time.Millisecond) // 1 s of it loads the model
		if saved, _ := s.counts(); saved != 1 {
			t.Errorf("%d checkpoints were saved after 3.5 s of drawing, want 1", saved)
		}
		if record, _ := r.wait(id); record.State != job.Complete {
			t.Errorf("the job is %s: %s", record.State, record.Message)
		}
		if saved, left := s.counts(); saved != 2 || left != 0 {
			t.Errorf("%d checkpoints were saved, %d left, want 2 and 0", saved, left)
		}
	})
}

func TestGoesOnFromCheckpoint(t *testing.T) {
	withShelf(t, encoded(t, 30), func(t *testing.T, r *rig, _ *shelf) {
		record, list := r.wait(r.submit("a star", one))
		if record.State != job.Complete || len(list) != 21 || list[0].Step != 31 {
			t.Errorf("%s after %d events, the first %+v; want complete after steps 31…50", record.State, len(list), list[0])
		}
	})
}

func TestCheckpointOfAnotherPicture(t *testing.T) {
	withShelf(t, encoded(t, 30), func(t *testing.T, r *rig, _ *shelf) {
		record, list := r.wait(r.submit("other", one))
		if record.State != job.Complete || len(list) != 51 || len(r.requests) != 2 || r.requests[1].From != nil {
			t.Errorf("%s after %d events and %d attempts to draw; want the picture begun anew", record.State, len(list), len(r.requests))
		}
	})
}

func TestDamagedCheckpoint(t *testing.T) {
	damaged := encoded(t, 30)
	damaged[len(damaged)-1] ^= 1
	withShelf(t, damaged, func(t *testing.T, r *rig, _ *shelf) {
		if record, _ := r.wait(r.submit("a star", one)); record.State != job.Failed || !strings.Contains(record.Message, "checkpoint is damaged") {
			t.Errorf("%s: %q; want it to fail for the damaged checkpoint", record.State, record.Message)
		}
		if record, _ := r.wait(r.submit("a star")); record.State != job.Complete {
			t.Errorf("the next job is %s: %s", record.State, record.Message)
		}
	})
}
