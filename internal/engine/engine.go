package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/sd"
	"waggle/internal/store"
)

// ErrStepRunning is returned by Run when a call did not come back in the time
// given to it: its device is still in use and must not be touched. The process
// can end all the same.
var ErrStepRunning = errors.New("engine: a step was still running when the time was up")

// Config is what an Engine is made of. Those of one process share all but
// Adapter and Open.
type Config struct {
	Queue  queue.Queue
	Events events.Log
	Store  store.Store
	Node   *Node

	Adapter string // what was asked for, until the device is open and tells its name
	// Open opens the device: at the start, and again after it was lost, a call
	// on it panicked or gave no answer. Its error is shown to people; make it a
	// *job.Error to give it a kind.
	Open func() (Device, error)

	MaxBatch int   // pictures that share a step; default 4
	Memory   int64 // bytes that the models may take; 0: what the device says
	// Precision is what pipelines compute activations in: "f32", or anything
	// else for a mixture.
	Precision string
	// Version is written into the pictures' metadata.
	Version string

	Checkpoints     Checkpoints   // nil: a job that is run again begins anew
	CheckpointEvery time.Duration // shortest time between two of a picture; default 2 s

	JobLimit time.Duration // the steps of a job may take this long; default 2 h
	Grace    time.Duration // for an orderly end at shutdown; default 1 s
	Meter    Meter         // default: none
	Log      *slog.Logger  // default: none
}

// Engine draws on one device. Its loop is one goroutine; the calls on the
// device are made by another, the owner.
type Engine struct {
	Config
	seat     *seat
	consumer queue.Consumer
	stopping <-chan struct{}

	owner *owner // nil: the device is not open
	times timings
	// Why the device, and the node's own model, cannot be used; empty: they can.
	deviceTrouble, modelTrouble string

	runs  []*run // in the order in which they were taken
	taken int
	batch batch
	asked asked
	saver *saver
	kept  chan kept // pictures that have been stored
	work  sync.WaitGroup
}

// batch is what the runs have in common whose pictures are being drawn.
type batch struct {
	model string
	shape sd.Shape
	most  int // pictures that may share a step
}

// New returns an engine with a seat at the node; Run starts it.
func New(c Config) *Engine {
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{{&c.JobLimit, 2 * time.Hour}, {&c.CheckpointEvery, 2 * time.Second}, {&c.Grace, time.Second}} {
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = 4
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Meter == nil {
		c.Meter = unmetered{}
	}
	return &Engine{Config: c, seat: c.Node.join(c.Adapter), times: timings{}, kept: make(chan kept),
		consumer: queue.Consumer{Node: c.Node.record.ID, Takes: c.Node.takes}}
}

// Run runs jobs on all engines of a node until ctx ends. Then they hand back
// what they have at its checkpoints and Run returns: nil, or ErrStepRunning. A
// device or model that cannot be used does not end it: the node's record says
// why, and so does every job that needs it.
func Run(ctx context.Context, n *Node, engines ...*Engine) error {
	told, stop := context.WithCancel(context.WithoutCancel(ctx))
	var record, work sync.WaitGroup
	n.lookAround(ctx)
	record.Go(func() { n.keep(told, lastWrite) })
	errs := make([]error, len(engines))
	for i, e := range engines {
		work.Go(func() { errs[i] = e.run(ctx) })
	}
	work.Wait()
	stop()
	record.Wait()
	return errors.Join(errs...)
}

// lastWrite is how long the node's last record may take to be written.
const lastWrite = 300 * time.Millisecond

// run works until ctx ends. What is done for an orderly end has a context of
// its own, which ends by the grace later.
func (e *Engine) run(ctx context.Context) error {
	e.stopping = ctx.Done()
	lasting, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(e.Grace):
			end()
		case <-lasting.Done():
		}
	})()
	e.saver = newSaver(lasting, e.Checkpoints, e.Meter, e.Log)
	e.loop(lasting)
	err := e.close(lasting)
	end()
	<-e.saver.over
	e.work.Wait()
	return err
}

// loop takes jobs and draws them, round by round, until the engine stops.
func (e *Engine) loop(ctx context.Context) {
	e.start(ctx)
	for !e.stops() {
		e.look(ctx)
		e.seat.draws(len(e.runs))
		if len(e.runs) == 0 {
			e.wait(ctx)
			continue
		}
		e.invite(ctx)
		e.round(ctx)
	}
}

// close hands all jobs back and lets the owner go.
func (e *Engine) close(ctx context.Context) (err error) {
	e.seat.tell(job.Stopping, "")
	if e.owner != nil {
		e.owner.dismiss()
	}
	e.handBackAll(ctx, e.runs, e.Grace/2)
	if e.owner != nil {
		select {
		case <-e.owner.gone:
		case <-ctx.Done():
			err = ErrStepRunning
		}
	}
	e.seat.tell(job.Stopped, "")
	return err
}

func (e *Engine) stops() bool {
	select {
	case <-e.stopping:
		return true
	default:
		return false
	}
}

// pauseFor waits; false if the engine shall stop.
func (e *Engine) pauseFor(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-e.stopping:
		return false
	}
}

// look sees to what has changed between two rounds: stored pictures, cancels,
// pauses, time that is over.
func (e *Engine) look(ctx context.Context) {
	e.collect(ctx)
	for _, r := range append([]*run(nil), e.runs...) {
		switch {
		case r.cancelled():
			e.fail(ctx, r, errCancelled)
		case r.lease.PauseAsked() || r.parked():
			e.pause(ctx, r)
		case r.spent > e.JobLimit:
			e.fail(ctx, r, errTooLong)
		}
	}
	e.endDrawn(ctx)
}

// endDrawn completes the runs that are drawn, but none before another of its
// priority that was begun earlier.
func (e *Engine) endDrawn(ctx context.Context) {
	open := map[int]bool{} // priorities in which a run is still to end
	for _, r := range append([]*run(nil), e.runs...) {
		if r.drawn() && !open[r.rank()] {
			e.complete(ctx, r)
		} else {
			open[r.rank()] = true
		}
	}
}
