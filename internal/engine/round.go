package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"waggle/internal/job"
	"waggle/internal/sd"
)

// restFor is how soon an engine that waits for pictures to be stored looks
// around again.
const restFor = 100 * time.Millisecond

// round does one step of each picture whose turn it is. An error ends it: then
// the next round begins with what is left.
func (e *Engine) round(ctx context.Context) {
	members := e.turn()
	if len(members) == 0 {
		e.rest(ctx)
		return
	}
	var step []*canvas
	for _, c := range members {
		if c.drawing == nil && !e.begin(ctx, c) {
			return
		}
		if c.total == 0 || c.steps < c.total {
			step = append(step, c)
		}
	}
	if len(step) > 0 && !e.step(ctx, step) {
		return
	}
	for _, c := range members {
		if c.steps == c.total && !c.parked() && !e.develop(ctx, c) {
			return
		}
	}
}

// turn are the pictures that step now: a suspect alone; else as many as may
// share a step, of the highest priority first, and of those begun first.
func (e *Engine) turn() (members []*canvas) {
	if c := e.suspected(); c != nil {
		return []*canvas{c}
	}
	ranked := slices.Clone(e.runs)
	slices.SortStableFunc(ranked, func(a, b *run) int { return a.rank() - b.rank() })
	for _, r := range ranked {
		for _, c := range r.undrawn() {
			if len(members) < e.batch.most && !c.parked() {
				members = append(members, c)
			}
		}
	}
	if e.storing() >= openRuns*e.MaxBatch {
		return nil // the store is slower than the device
	}
	return members
}

// suspected is the first picture that must show that it was not the one at
// which a step failed, or the process ended; nil if there is none.
func (e *Engine) suspected() *canvas {
	for _, r := range e.runs {
		for _, c := range r.undrawn() {
			if c.suspect && !c.parked() {
				return c
			}
		}
	}
	return nil
}

// told is what is known of a drawing after a call.
type told struct {
	drawing      Drawing
	steps, total int
	guess        sd.Latent
	checkpoint   *sd.Checkpoint
	loras        []job.LoRAResult
}

// begin begins a picture on the device, or goes on with it.
func (e *Engine) begin(ctx context.Context, c *canvas) bool {
	request := c.request
	request.From = c.newest
	got, err := ask(e.owner, e.stopping, callLimit, func(d *desk) (told, error) {
		m, err := d.model(c.run.model)
		if err != nil {
			return told{}, err
		}
		drawing, err := m.Begin(request)
		if err != nil {
			return told{}, diagnose(m, request, err)
		}
		return told{drawing: drawing, steps: drawing.StepsDone(), total: drawing.Total(), loras: lorasOf(drawing)}, nil
	})
	if errors.Is(err, sd.ErrOtherPicture) {
		e.Log.Warn("begin the picture anew", "job", c.run.record.ID, "picture", c.index, "because", err)
		c.newest, c.steps = nil, 0
		e.saver.remove(c.run.record.ID, c.index)
		return false
	}
	if err != nil {
		e.rescue(ctx, []*canvas{c}, err)
		return false
	}
	c.drawing, c.steps, c.total = got.drawing, got.steps, got.total
	c.run.loras = got.loras
	if c.began.IsZero() {
		c.began = time.Now()
	}
	return true
}

// stepped is the owner's answer to a step.
type stepped struct {
	told []told
	hold
}

// step does a step of each picture and reports it.
func (e *Engine) step(ctx context.Context, members []*canvas) bool {
	drawings := make([]Drawing, len(members))
	for i, c := range members {
		drawings[i] = c.drawing
	}
	b, request := e.batch, members[0].request
	kind := work{b.model, b.shape, len(members)}
	began := time.Now()
	got, err := ask(e.owner, e.stopping, e.times.limit(kind), func(d *desk) (stepped, error) {
		return d.step(b, request, drawings)
	})
	if err != nil {
		e.rescue(ctx, members, err)
		return false
	}
	took := time.Since(began)
	e.times.add(kind, took)
	e.Meter.Stepped(b.model, len(members), took)
	for i, c := range members {
		if i == 0 || c.run != members[i-1].run {
			c.run.spent += took
		}
	}
	e.seat.holds(got.hold)
	e.report(ctx, members, got.told)
	if len(members) == 1 {
		members[0].suspect = members[0].run.alone
	}
	return true
}

// step is the owner's part.
func (d *desk) step(b batch, request sd.Request, drawings []Drawing) (stepped, error) {
	m, err := d.model(b.model)
	if err != nil {
		return stepped{}, err
	}
	if err := d.makeRoom(m, request, b.shape, len(drawings)); err != nil {
		return stepped{}, err
	}
	if err := m.Step(drawings...); err != nil {
		if len(drawings) == 1 {
			err = diagnose(m, request, err)
		}
		return stepped{}, err
	}
	got := stepped{hold: d.hold()}
	for _, drawing := range drawings {
		c, err := drawing.Checkpoint()
		if err != nil {
			return stepped{}, err
		}
		got.told = append(got.told, told{steps: drawing.StepsDone(), total: drawing.Total(), guess: drawing.Guess(), checkpoint: c})
	}
	return got, nil
}

// report tells of a step of each picture: first a preview, then the event that
// sends readers to look for it. Steps count over all pictures of a job; the
// preview is of the first one that is not drawn. A checkpoint counts when its
// step has been told.
func (e *Engine) report(ctx context.Context, members []*canvas, all []told) {
	leads := map[*run]job.Latent{}
	for i, c := range members {
		t := all[i]
		if _, ok := leads[c.run]; !ok {
			leads[c.run] = job.NewLatent(t.guess.Channels, t.guess.Height, t.guess.Width, t.guess.Data)
		}
		c.steps, c.total = t.steps, t.total
		step, total := c.run.stepped(t.total), len(c.run.canvases)*t.total
		event := job.StepEvent(step, total)
		if last := i+1 == len(members) || members[i+1].run != c.run; last || event.Type == job.PreviewEvent {
			e.show(ctx, c.run.record.ID, job.Preview{Step: step, Total: total, Latent: leads[c.run]})
		}
		e.publish(ctx, c.run.record.ID, event)
		c.newest = t.checkpoint
		if time.Since(c.saved) >= e.CheckpointEvery {
			c.saved = time.Now()
			e.saver.save(c.run.record.ID, c.index, c.newest)
		}
	}
}

func (e *Engine) show(ctx context.Context, id job.ID, p job.Preview) {
	e.Meter.Showed()
	if err := e.Events.ShowPreview(ctx, id, p); err != nil {
		e.Log.Warn("show a preview", "job", id, "error", err)
	}
}
