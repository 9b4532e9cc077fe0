package engine

import (
	"context"
	"errors"
	"time"

	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/sd"
)

// openRuns is how many runs an engine has at most for each picture of a step:
// more than one, as drawn runs may wait for their end.
const openRuns = 2

// asked is the shape of the job that is first in line.
type asked struct {
	id    job.ID
	shape sd.Shape
	err   error
}

// wait waits for a job, where there is none.
func (e *Engine) wait(ctx context.Context) {
	if e.owner == nil && e.open() != nil && e.seat.usableBeside() {
		e.settled()
		e.pauseFor(reopenEvery)
		return
	}
	e.settled()
	lease, err := e.next(ctx)
	switch {
	case err == nil:
		e.admit(ctx, lease)
	case e.stops():
	case errors.Is(err, queue.ErrClosed):
		e.Log.Error("take a job", "error", err)
		<-e.stopping
	default:
		e.Log.Error("take a job", "error", err)
		e.pauseFor(time.Second)
	}
}

// next waits for a job until the engine stops.
func (e *Engine) next(ctx context.Context) (queue.Lease, error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-e.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	lease, err := e.Queue.Next(ctx, e.consumer)
	cancel()
	<-ended
	return lease, err
}

// invite looks at the first in line: it joins the others, takes the place of
// lower ones, or waits. None behind it is looked at before it is gone.
func (e *Engine) invite(ctx context.Context) {
	for !e.stops() {
		first, ok := e.Queue.Waiting(e.consumer)
		if !ok || e.seat.idleBeside() {
			return
		}
		fits := e.fits(ctx, first)
		switch lower := e.lower(first); {
		case fits && e.room():
			if !e.take(ctx) {
				return
			}
		case fits && len(lower) > 0:
			e.giveWay(ctx, first, lower[len(lower)-1:])
		case !fits && len(lower) > 0 && len(lower) == len(e.drawing()):
			e.giveWay(ctx, first, lower)
		default:
			return
		}
	}
}

// giveWay hands runs back for another of a higher priority.
func (e *Engine) giveWay(ctx context.Context, first job.Record, runs []*run) {
	for _, r := range runs {
		e.Log.Info("hand a job back for one of a higher priority", "job", r.record.ID, "for", first.ID)
	}
	e.handBackAll(ctx, runs, saveLimit)
}

// drawing are the runs whose pictures are being drawn.
func (e *Engine) drawing() (runs []*run) {
	for _, r := range e.runs {
		if len(r.undrawn()) > 0 {
			runs = append(runs, r)
		}
	}
	return runs
}

// lower are the runs being drawn whose priority is below that of a job.
func (e *Engine) lower(than job.Record) (runs []*run) {
	for _, r := range e.drawing() {
		if r.rank() > rank(than) {
			runs = append(runs, r)
		}
	}
	return runs
}

// room reports whether another picture has room in a step.
func (e *Engine) room() bool {
	pictures := 0
	for _, r := range e.runs {
		pictures += len(r.undrawn())
	}
	return len(e.runs) < openRuns*e.MaxBatch && (pictures == 0 || pictures < e.batch.most)
}

// fits reports whether a job can be drawn with those under way. So can one that
// cannot be drawn at all: it is taken to be told.
func (e *Engine) fits(ctx context.Context, r job.Record) bool {
	switch {
	case len(e.drawing()) == 0 || e.refuse(r.Request) != nil:
		return true
	case e.suspected() != nil || e.Node.model(r.Request.Model) != e.batch.model:
		return false
	}
	if e.asked.id != r.ID {
		request := Request(r.Request, r.Seed)
		shape, err := ask(e.owner, e.stopping, callLimit, func(d *desk) (sd.Shape, error) {
			m, err := d.model(e.batch.model)
			if err != nil {
				return sd.Shape{}, err
			}
			return m.Shape(request)
		})
		if broken(err) {
			e.replace(ctx, err)
			return false
		}
		e.asked = asked{r.ID, shape, err}
	}
	return e.asked.err != nil || e.asked.shape == e.batch.shape
}

// take takes the first in line; false if there was none for this engine.
func (e *Engine) take(ctx context.Context) bool {
	lease, err := e.Queue.Take(ctx, e.consumer)
	if err != nil {
		e.Log.Error("take a job", "error", err)
		return false
	}
	return lease != nil && e.admit(ctx, lease)
}

// admit begins a job. One that turns out to be another than was looked at, and
// that cannot be drawn with those under way, goes back; then it is false.
func (e *Engine) admit(ctx context.Context, lease queue.Lease) bool {
	if !e.fits(ctx, lease.Record()) {
		if err := lease.HandBack(ctx); err != nil {
			e.Log.Error("hand a job back", "job", lease.Record().ID, "error", err)
		}
		return false
	}
	first := len(e.drawing()) == 0
	r, err := e.begun(ctx, lease)
	e.runs = append(e.runs, r)
	e.publish(ctx, r.record.ID, job.StateEvent(job.Running))
	if err != nil {
		e.fail(ctx, r, err)
		return true
	}
	if e.owner != nil {
		e.seat.tell(job.Busy, "")
	}
	e.noteStrangers(r)
	if list := r.undrawn(); len(list) > 0 {
		e.fitOut(ctx, list[0], first)
	}
	return true
}

// noteStrangers logs what a request names and this node is not: workers draw
// what they are given, whoever it was meant for.
func (e *Engine) noteStrangers(r *run) {
	log, asked, self := e.Log.With("job", r.record.ID), r.record.Request, &e.Node.record // of which these members do not change
	if asked.Model != r.model && asked.Model != self.ModelID {
		log.Info("the request names another model than those of this server", "requested", asked.Model, "used", r.model)
	}
	if asked.WorkerID != "" && asked.WorkerID != self.ID {
		log.Debug("the request names another worker", "requested", asked.WorkerID) // as queens call it
	}
}

// fitOut has the model loaded that a run needs. The first run decides what the
// others can have.
func (e *Engine) fitOut(ctx context.Context, c *canvas, first bool) {
	for {
		b, err := e.prepare(c.run.model, &c.request)
		switch {
		case errors.Is(err, errStopping):
			return
		case err == nil:
			if first {
				e.batch = b
			}
			return
		case !broken(err):
			e.fail(ctx, c.run, err)
			return
		}
		if !e.rescue(ctx, []*canvas{c}, err) {
			return
		}
	}
}
