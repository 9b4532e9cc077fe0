package engine

import (
	"bytes"
	"context"
	"image/png"
	"time"

	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/sd"
)

// run is a job under way.
type run struct {
	lease    queue.Lease
	record   job.Record // as it was when it was taken
	model    string     // that it is drawn with
	order    int        // of those taken by this engine
	began    time.Time
	canvases []*canvas     // one for each picture
	spent    time.Duration // in steps
	failures int           // that were this job's
	alone    bool          // it shares no step: its next lost attempt is its last
	over     chan struct{} // closed when it has ended or left the engine
	loras    []job.LoRAResult
	float32  []string // networks whose weights were computed so
}

// canvas is one picture of a run.
type canvas struct {
	run     *run
	index   int
	request sd.Request

	drawing Drawing        // nil: not begun on the present device
	newest  *sd.Checkpoint // after the last step that was reported; nil before the first
	steps   int            // reported
	total   int            // 0 until it is known
	suspect bool           // it was in a step that failed or ended the process, and has not passed one alone since
	began   time.Time      // when it was first drawn on here
	saved   time.Time      // when its checkpoint was last handed to the saver

	keeping bool         // it is drawn and being stored
	stored  *job.Picture // it is in the store
}

// begun makes a run of a job: pictures that are in the store already are not
// drawn again, others go on from their checkpoints.
func (e *Engine) begun(ctx context.Context, lease queue.Lease) (*run, error) {
	record := lease.Record()
	e.taken++
	r := &run{lease: lease, record: record, order: e.taken, began: time.Now(), over: make(chan struct{}), alone: record.Attempt >= lastAttempt}
	if err := e.refuse(record.Request); err != nil {
		return r, err
	}
	r.model = e.Node.model(record.Request.Model)
	for i := range record.Request.Pictures() {
		seed := record.Seed + uint64(i)
		c := &canvas{run: r, index: i, request: Request(record.Request, seed), saved: time.Now(), suspect: record.Attempt > 1}
		c.stored = e.stored(ctx, record.ID, i, seed)
		r.canvases = append(r.canvases, c)
		if c.stored != nil {
			e.saver.remove(record.ID, i)
			continue
		}
		var err error
		if c.newest, err = e.load(ctx, record.ID, i); err != nil {
			return r, err
		}
		if c.newest != nil {
			c.steps, c.total = c.newest.Step, c.newest.Total
		}
	}
	return r, nil
}

// stored finds a picture that was finished in an earlier run of its job; nil if
// there is none.
func (e *Engine) stored(ctx context.Context, id job.ID, i int, seed uint64) *job.Picture {
	file, err := e.Store.Get(ctx, id, i)
	if err != nil {
		return nil
	}
	size, err := png.DecodeConfig(bytes.NewReader(file))
	if err != nil {
		e.Log.Warn("draw a stored picture again", "job", id, "picture", i, "because", err)
		return nil
	}
	return &job.Picture{Seed: seed, Width: size.Width, Height: size.Height}
}

// undrawn are the pictures that still need the pipeline.
func (r *run) undrawn() (list []*canvas) {
	for _, c := range r.canvases {
		if c.stored == nil && !c.keeping {
			list = append(list, c)
		}
	}
	return list
}

// drawn reports whether all pictures are in the store.
func (r *run) drawn() bool {
	for _, c := range r.canvases {
		if c.stored == nil {
			return false
		}
	}
	return true
}

// parked reports whether all pictures that are left have come to the step at
// which the job shall pause.
func (r *run) parked() bool {
	if r.record.StopAt == 0 || r.drawn() {
		return false
	}
	for _, c := range r.canvases {
		if c.stored == nil && !c.parked() {
			return false
		}
	}
	return true
}

// parked reports whether the picture waits for its job to pause.
func (c *canvas) parked() bool {
	at := c.run.record.StopAt
	return at > 0 && c.steps >= at && !c.keeping
}

// stepped counts the steps over all pictures, done ones and all, given how many
// a picture has.
func (r *run) stepped(total int) (sum int) {
	for _, c := range r.canvases {
		if c.stored != nil || c.keeping {
			sum += total
		} else {
			sum += c.steps
		}
	}
	return sum
}

// outcome is a drawn run's.
func (r *run) outcome() (o job.Outcome) {
	for _, c := range r.canvases {
		o.Pictures = append(o.Pictures, *c.stored)
	}
	o.LoRAs, o.Float32 = r.loras, r.float32
	return o
}

// cancelled reports whether the job shall stop.
func (r *run) cancelled() bool {
	select {
	case <-r.lease.Cancelled():
		return true
	default:
		return false
	}
}

// rank orders priorities, the highest first.
func (r *run) rank() int { return rank(r.record) }

func rank(r job.Record) int {
	switch r.Request.Priority {
	case job.High:
		return 0
	case job.Low:
		return 2
	}
	return 1
}

// remove takes a run out of the engine.
func (e *Engine) remove(r *run) {
	for i, other := range e.runs {
		if other == r {
			e.runs = append(e.runs[:i:i], e.runs[i+1:]...)
			close(r.over)
			return
		}
	}
}

// complete ends a drawn run.
func (e *Engine) complete(ctx context.Context, r *run) { e.finish(ctx, r, job.Complete, r.outcome()) }

// fail ends a run with an error.
func (e *Engine) fail(ctx context.Context, r *run, err error) {
	state := job.Failed
	var o job.Outcome
	o.Kind, o.Message = explain(err)
	if o.Kind == job.CancelledByUser {
		state = job.Cancelled
	}
	if o.Kind != job.CancelledByUser && o.Kind != job.InvalidInput { // those are no trouble of ours
		e.Log.Error("job failed", "job", r.record.ID, "kind", o.Kind, "error", err)
	}
	e.finish(ctx, r, state, o)
}

// finish records how a run ended, then tells its readers: whoever hears of the
// end finds record and pictures in place.
func (e *Engine) finish(ctx context.Context, r *run, s job.State, o job.Outcome) {
	e.remove(r)
	o.Elapsed = time.Since(r.began)
	record, err := r.lease.Finish(ctx, s, o)
	if err != nil {
		e.Log.Error("finish a job", "job", r.record.ID, "state", s, "error", err)
		return
	}
	for _, c := range r.canvases {
		if c.newest != nil {
			e.saver.remove(record.ID, c.index)
		}
	}
	e.publishEnd(ctx, record)
}

// pause ends a run's work for now, at its checkpoints.
func (e *Engine) pause(ctx context.Context, r *run) {
	e.save(r)
	e.saver.flush(ctx, saveLimit)
	e.park(ctx, r)
}

// park is pause with checkpoints that are saved by now.
func (e *Engine) park(ctx context.Context, r *run) {
	e.remove(r)
	record, err := r.lease.Pause(ctx)
	if err != nil {
		e.Log.Error("pause a job", "job", r.record.ID, "error", err)
		return
	}
	if !record.State.Final() { // paused, or queued if somebody thought better of it
		e.publish(ctx, record.ID, job.StateEvent(record.State))
	}
	e.publishEnd(ctx, record)
}

// handBack puts a run back into the line, at its checkpoints, which are saved
// by now; unless it shall stop or pause anyway.
func (e *Engine) handBack(ctx context.Context, r *run) {
	switch {
	case r.cancelled():
		e.fail(ctx, r, errCancelled)
		return
	case r.lease.PauseAsked():
		e.park(ctx, r)
		return
	}
	e.remove(r)
	e.publish(ctx, r.record.ID, job.StateEvent(job.Queued)) // first: then another may tell that it runs
	if err := r.lease.HandBack(ctx); err != nil {
		e.Log.Error("hand a job back", "job", r.record.ID, "error", err)
	}
}

// handBackAll puts runs back, the last one first, so that the first is first
// in line again.
func (e *Engine) handBackAll(ctx context.Context, runs []*run, limit time.Duration) {
	for _, r := range runs {
		e.save(r)
	}
	e.saver.flush(ctx, limit)
	for i := len(runs) - 1; i >= 0; i-- {
		e.handBack(ctx, runs[i])
	}
}

// save hands the newest checkpoints of a run to the saver.
func (e *Engine) save(r *run) {
	for _, c := range r.canvases {
		if c.newest != nil && c.stored == nil {
			e.saver.save(r.record.ID, c.index, c.newest)
		}
	}
}

func (e *Engine) publish(ctx context.Context, id job.ID, ev job.Event) {
	if err := e.Events.Publish(ctx, id, ev); err != nil {
		e.Log.Error("publish an event", "job", id, "type", ev.Type, "error", err)
	}
}

func (e *Engine) publishEnd(ctx context.Context, r job.Record) {
	if last, ended := r.EndEvent(); ended {
		e.publish(ctx, r.ID, last)
	}
}
