package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"waggle/gpu"
	"waggle/internal/job"
	"waggle/internal/sd"
)

// rescue sees to a failed call for these pictures, so that the next round can
// go on: false where that is not for them.
//
// Whose fault it was is known only if the picture was alone. Of several each
// must pass a step alone. A failure of the device ends a job the third time
// only, since the device may be at fault; any other is its own.
func (e *Engine) rescue(ctx context.Context, members []*canvas, err error) bool {
	if errors.Is(err, errStopping) {
		return false
	}
	e.Meter.Failed(reason(err))
	alone := len(members) == 1
	for _, c := range members {
		c.drawing, c.suspect = nil, true
	}
	switch memory := errors.Is(err, gpu.ErrOutOfMemory); {
	case broken(err):
		if alone {
			e.failure(ctx, members[0].run, err)
		}
		return e.replace(ctx, err) && slices.Contains(e.runs, members[0].run)
	case memory && e.evictOthers(ctx):
		for _, c := range members {
			c.suspect = c.run.alone
		}
		return true
	case !alone:
		e.Log.Warn("a step of several pictures failed: each goes on alone", "pictures", len(members), "error", err)
		if memory {
			e.batch.most = max(1, len(members)/2)
		}
		return true
	}
	e.fail(ctx, members[0].run, err)
	return false
}

// evictOthers closes all models but the one in use; false if there was no other.
func (e *Engine) evictOthers(ctx context.Context) bool {
	type eviction struct {
		before []string
		after  hold
	}
	got, err := ask(e.owner, e.stopping, callLimit, func(d *desk) (eviction, error) {
		before := d.names()
		d.keep(1)
		return eviction{before, d.hold()}, nil
	})
	if broken(err) {
		return e.replace(ctx, err)
	}
	if err != nil || len(got.before) < 2 {
		return false
	}
	e.Log.Warn("out of GPU memory: other models are given back", "models", got.before[:len(got.before)-1])
	e.seat.holds(got.after)
	return true
}

// failure counts a failure of a picture that was alone; the third ends its job.
func (e *Engine) failure(ctx context.Context, r *run, err error) {
	r.failures++
	e.Log.Warn("a job failed alone", "job", r.record.ID, "times", r.failures, "of", failuresLimit, "because", err)
	if r.failures >= failuresLimit {
		e.fail(ctx, r, err)
	}
}

const (
	failuresLimit = 3 // failures of its own that end a job
	lastAttempt   = 3 // after so many lost runs the queue ends a job
)

// diagnose asks the pipeline's plan why a picture could not be made: a request
// it refuses too is the caller's fault, and what does not fit has a size.
func diagnose(m *model, r sd.Request, err error) error {
	if err == nil || broken(err) || errors.Is(err, sd.ErrOtherPicture) || errors.Is(err, sd.ErrDamaged) {
		return err
	}
	plan, refused := m.Plan(r, 1)
	if errors.Is(refused, gpu.ErrOutOfMemory) {
		return refused
	}
	if refused != nil {
		return job.Errorf(job.InvalidInput, "Invalid input: %w", refused)
	}
	return &planError{r, plan.Total(), err}
}

// planError is an error of a picture that was planned to take so many bytes.
type planError struct {
	request sd.Request
	bytes   int64
	err     error
}

func (p *planError) Error() string {
	return fmt.Sprintf("%d×%d, planned to take %d MiB: %v", p.request.Width, p.request.Height, p.bytes>>20, p.err)
}

func (p *planError) Unwrap() error { return p.err }
