package engine

import (
	"context"
	"errors"
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

// from loads the checkpoint that picture i goes on from; nil to begin it. One
// that is damaged is an error; one that this program cannot use is not.
func (e *Engine) from(ctx context.Context, id job.ID, i int) (*sd.Checkpoint, error) {
	if e.Checkpoints == nil {
		return nil, nil
	}
	data, err := e.Checkpoints.Load(ctx, id, i)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		e.Log.Warn("begin the picture anew", "job", id, "picture", i, "because", err)
		return nil, nil
	}
	c := new(sd.Checkpoint)
	switch err := c.UnmarshalBinary(data); {
	case errors.Is(err, sd.ErrDamaged):
		return nil, &job.Error{Kind: job.Internal, Err: err, Message: "The job's checkpoint is damaged; submit the job again"}
	case err != nil:
		e.Log.Warn("begin the picture anew", "job", id, "picture", i, "because", err)
		return nil, nil
	}
	e.Log.Info("go on from a checkpoint", "job", id, "picture", i, "step", c.Step)
	return c, nil
}

// keeper saves checkpoints of one picture beside the drawing, the newest only.
type keeper struct {
	engine *Engine
	id     job.ID
	index  int
	last   time.Time
	newest chan []byte
	saver  sync.WaitGroup
}

// keep starts a keeper; end it with done. ctx's end does not stop a save.
func (e *Engine) keep(ctx context.Context, id job.ID, i int) *keeper {
	k := &keeper{engine: e, id: id, index: i, last: time.Now(), newest: make(chan []byte, 1)}
	if e.Checkpoints != nil {
		k.saver.Go(func() { k.save(context.WithoutCancel(ctx)) })
	}
	return k
}

func (k *keeper) save(ctx context.Context) {
	for data := range k.newest {
		limited, stop := context.WithTimeout(ctx, saveLimit)
		if err := k.engine.Checkpoints.Save(limited, k.id, k.index, data); err != nil {
			k.engine.Log.Warn("save a checkpoint", "job", k.id, "error", err)
		}
		stop()
	}
}

// step takes a checkpoint after a step, if the last one is old enough.
func (k *keeper) step(p sd.Progress) {
	if k.engine.Checkpoints == nil || p.Checkpoint == nil || time.Since(k.last) < k.engine.CheckpointEvery {
		return
	}
	k.last = time.Now()
	c, err := p.Checkpoint()
	var data []byte
	if err == nil {
		data, err = c.MarshalBinary()
	}
	if err != nil {
		k.engine.Log.Warn("take a checkpoint", "job", k.id, "step", p.Step, "error", err)
		return
	}
	select {
	case <-k.newest: // one that waits is old now
	default:
	}
	k.newest <- data
}

// done waits until the last checkpoint is saved.
func (k *keeper) done() {
	close(k.newest)
	k.saver.Wait()
}
