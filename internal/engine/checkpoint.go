package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"waggle/internal/job"
	"waggle/internal/sd"
	"waggle/internal/store"
)

// Checkpoints keeps how far unfinished pictures are; *store.Checkpoints does.
type Checkpoints interface {
	Save(ctx context.Context, id job.ID, index int, data []byte) error
	// Load returns store.ErrNotFound where there is none.
	Load(ctx context.Context, id job.ID, index int) ([]byte, error)
	Remove(ctx context.Context, id job.ID, index int) error
}

var _ Checkpoints = (*store.Checkpoints)(nil)

// saveLimit is how long a checkpoint may take to be saved.
const saveLimit = 10 * time.Second

// load finds the checkpoint that picture i goes on from; nil to begin it. One
// that is damaged is an error; one that this program cannot use is not.
func (e *Engine) load(ctx context.Context, id job.ID, i int) (*sd.Checkpoint, error) {
	if e.Checkpoints == nil {
		return nil, nil
	}
	data, err := e.Checkpoints.Load(ctx, id, i)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	c := new(sd.Checkpoint)
	if err == nil {
		err = c.UnmarshalBinary(data)
	}
	switch {
	case errors.Is(err, sd.ErrDamaged):
		return nil, &job.Error{Kind: job.Internal, Err: err, Message: "The job's checkpoint is damaged; submit the job again"}
	case err != nil:
		e.Log.Warn("begin the picture anew", "job", id, "picture", i, "because", err)
		return nil, nil
	}
	e.Log.Info("go on from a checkpoint", "job", id, "picture", i, "step", c.Step)
	return c, nil
}

// spot is where a picture's checkpoint is kept.
type spot struct {
	id    job.ID
	index int
}

// saver saves and removes checkpoints beside the drawing, one after the other.
// What waits for the same spot is replaced: the newest counts.
type saver struct {
	to    Checkpoints
	meter Meter
	log   *slog.Logger
	wake  chan struct{}
	over  chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	waiting map[spot]*sd.Checkpoint // nil: remove
	line    []spot
	busy    bool
	settled chan struct{} // closed and replaced whenever nothing is left to do
}

// newSaver starts a saver that works until ctx ends, whatever is left then.
func newSaver(ctx context.Context, to Checkpoints, meter Meter, log *slog.Logger) *saver {
	s := &saver{to: to, meter: meter, log: log, wake: make(chan struct{}, 1), over: make(chan struct{}),
		waiting: map[spot]*sd.Checkpoint{}, settled: make(chan struct{})}
	go func() {
		defer close(s.over)
		for s.work(ctx) {
			select {
			case <-s.wake:
			case <-ctx.Done():
				return
			}
		}
	}()
	return s
}

// save takes a checkpoint to be saved.
func (s *saver) save(id job.ID, index int, c *sd.Checkpoint) { s.put(spot{id, index}, c) }

// remove has a checkpoint removed, and one that waits to be saved forgotten.
func (s *saver) remove(id job.ID, index int) { s.put(spot{id, index}, nil) }

func (s *saver) put(at spot, c *sd.Checkpoint) {
	if s.to == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.waiting[at]; !ok {
		s.line = append(s.line, at)
	}
	s.waiting[at] = c
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// work does all that waits; false when ctx has ended.
func (s *saver) work(ctx context.Context) bool {
	for at, c, ok := s.first(); ok; at, c, ok = s.first() {
		if ctx.Err() != nil {
			return false
		}
		s.do(ctx, at, c)
	}
	return true
}

// first takes what is first in line.
func (s *saver) first() (at spot, c *sd.Checkpoint, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy = len(s.line) > 0; !s.busy {
		close(s.settled)
		s.settled = make(chan struct{})
		return at, nil, false
	}
	at, s.line = s.line[0], s.line[1:]
	c = s.waiting[at]
	delete(s.waiting, at)
	return at, c, true
}

func (s *saver) do(ctx context.Context, at spot, c *sd.Checkpoint) {
	ctx, stop := context.WithTimeout(ctx, saveLimit)
	defer stop()
	if c == nil {
		if err := s.to.Remove(ctx, at.id, at.index); err != nil {
			s.log.Warn("remove a checkpoint", "job", at.id, "picture", at.index, "error", err)
		}
		return
	}
	began := time.Now()
	data, err := c.MarshalBinary()
	if err == nil {
		err = s.to.Save(ctx, at.id, at.index, data)
	}
	s.meter.Saved(time.Since(began), err)
	if err != nil {
		s.log.Warn("save a checkpoint", "job", at.id, "picture", at.index, "step", c.Step, "error", err)
	}
}

// flush waits until nothing is left to do, until ctx ends, or for the limit.
func (s *saver) flush(ctx context.Context, limit time.Duration) {
	s.mu.Lock()
	done, settled := !s.busy && len(s.line) == 0, s.settled
	s.mu.Unlock()
	if done {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-settled:
	case <-timer.C:
	case <-ctx.Done():
	}
}
