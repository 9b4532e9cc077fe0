// Package engine is the bridge between the service and the pictures: it takes
// jobs from the queue, runs them through a pipeline, reports every step and
// keeps the result. It owns the loaded model and the GPU: one goroutine does
// all the drawing.
package engine

import (
	"context"
	"errors"
	"fmt"
	"image"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/sd"
	"waggle/internal/store"
)

// Pipeline draws with one model; *sd.Pipeline is one. It is used by one
// goroutine at a time.
type Pipeline interface {
	Generate(ctx context.Context, r sd.Request, onStep func(sd.Progress)) (*image.NRGBA, error)
	// Plan says what Generate would need on the device, or what is wrong with
	// the request.
	Plan(r sd.Request, batch int) (sd.Plan, error)
	Info() sd.Info
	Close()
}

var _ Pipeline = (*sd.Pipeline)(nil)

// ErrStepRunning is returned by Run when a step did not end in the time given
// to it: the pipeline is still in use and must not be touched. The process can
// end all the same.
var ErrStepRunning = errors.New("engine: a step was still running when the time was up")

// Config is what an Engine is made of. All but the last three are needed.
type Config struct {
	Queue  queue.Queue
	Events events.Log
	Store  store.Store

	// Load opens the device and the model. It is called once at the start, on
	// the goroutine that draws, and again after the device was lost or the
	// pipeline panicked; the old pipeline has been closed by then. Its error is
	// shown to people; make it a *job.Error to give it a kind.
	Load func(ctx context.Context) (Pipeline, error)
	// Node is this node's record. The engine fills in status and reason, and,
	// when it has loaded, the model and the choices; an example prompt given
	// for the first of its models stays, and the device, where the pipeline has a
	// method Device that names it.
	Node job.Node
	// Precision is what the pipeline computes activations in: "f32", or
	// anything else for a mixture.
	Precision string
	// Version is written into the pictures' metadata.
	Version string

	Checkpoints     Checkpoints   // nil: a job that is run again begins anew
	CheckpointEvery time.Duration // shortest time between two of a picture; default 2 s

	JobLimit time.Duration // a job may take this long; default 2 h
	Grace    time.Duration // a step may end in this time at shutdown; default 1 s
	Log      *slog.Logger  // default: none
}

// Engine runs jobs, one after the other.
type Engine struct {
	Config
	pipeline Pipeline // nil when there is none to use
	loadErr  error    // why not

	mu    sync.Mutex
	lease queue.Lease // of the running job
}

// New returns an engine; Run starts it.
func New(c Config) *Engine {
	if c.JobLimit == 0 {
		c.JobLimit = 2 * time.Hour
	}
	if c.CheckpointEvery == 0 {
		c.CheckpointEvery = 2 * time.Second
	}
	if c.Grace == 0 {
		c.Grace = time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Engine{Config: c}
}

// Run loads the model and runs jobs until ctx ends. Then it abandons the
// running step, hands the job back and returns: nil, or ErrStepRunning. A
// model that cannot be loaded does not end it: the node's record says why, and
// so does every job.
func (e *Engine) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.loop(ctx)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	e.tell(job.Stopping, "")
	select {
	case <-done:
		e.tell(job.Stopped, "")
		return nil
	case <-time.After(e.Grace):
		e.handBack()
		return ErrStepRunning
	}
}

// loop is the goroutine that owns the pipeline.
func (e *Engine) loop(ctx context.Context) {
	e.tell(job.Starting, "")
	e.load(ctx)
	defer e.unload()
	for ctx.Err() == nil {
		lease, err := e.Queue.Next(ctx, queue.Consumer{Node: e.Node.ID})
		if err != nil {
			if ctx.Err() == nil {
				e.Log.Error("take a job", "error", err)
			}
			return
		}
		e.hold(lease)
		e.serve(ctx, lease)
		e.hold(nil)
	}
}

// load makes a pipeline and tells the node's record what it can do.
func (e *Engine) load(ctx context.Context) {
	e.unload()
	began := time.Now()
	e.pipeline, e.loadErr = e.tryLoad(ctx)
	if e.loadErr != nil {
		if ctx.Err() == nil {
			e.Log.Error("load the model", "model", e.Node.ModelID, "error", e.loadErr)
			e.tell(job.Starting, e.loadErr.Error())
		}
		return
	}
	e.Log.Info("model loaded", "model", e.Node.ModelID, "seconds", time.Since(began).Seconds())
	e.describe(ModelInfo(e.pipeline.Info()))
	if p, ok := e.pipeline.(interface{ Device() string }); ok {
		e.nameDevice(p.Device())
	}
	e.tell(job.Ready, "")
}

// nameDevice writes the adapter's name into the node's record.
func (e *Engine) nameDevice(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.Node.Device = name
}

// describe fills in what the node's record says of its model.
func (e *Engine) describe(m job.ModelInfo) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.Node.Models) > 0 && m.Example == "" {
		m.Example = e.Node.Models[0].Example
	}
	e.Node.Models = []job.ModelInfo{m}
	e.Node.Samplers, e.Node.Schedules = Choices()
}

func (e *Engine) tryLoad(ctx context.Context) (p Pipeline, err error) {
	defer func() {
		if v := recover(); v != nil {
			e.Log.Error("panic while loading", "panic", v, "stack", string(debug.Stack()))
			err = job.Errorf(job.Internal, "the model could not be loaded: internal error")
		}
	}()
	if p, err = e.Load(ctx); err == nil {
		return p, nil
	}
	var known *job.Error
	if !errors.As(err, &known) {
		err = &job.Error{Kind: job.Internal, Message: err.Error(), Err: err}
	}
	return nil, err
}

func (e *Engine) unload() {
	if e.pipeline != nil {
		e.pipeline.Close()
	}
	e.pipeline, e.loadErr = nil, errors.New("no model is loaded")
}

// hold remembers the running job for handBack.
func (e *Engine) hold(l queue.Lease) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lease = l
}

// handBack gives the running job back while its step still runs; what the step
// does with its lease afterwards has no effect.
func (e *Engine) handBack() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lease == nil {
		return
	}
	if err := e.lease.HandBack(context.Background()); err != nil {
		e.Log.Error("hand a job back", "job", e.lease.Record().ID, "error", err)
	}
}

// tell writes the node's record. Run's goroutine and loop's both do, the
// former only when ctx has ended.
func (e *Engine) tell(s job.Status, reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Node.Status == job.Stopping && s != job.Stopped {
		return
	}
	e.Node.Status, e.Node.Reason = s, reason
	if err := e.Queue.PutNode(context.Background(), e.Node); err != nil && !errors.Is(err, queue.ErrClosed) {
		e.Log.Error("write the node's record", "error", err)
	}
}

// reload replaces a pipeline that can no longer be used.
func (e *Engine) reload(ctx context.Context, why string) error {
	e.Log.Warn("load the model again", "because", why)
	e.tell(job.Starting, "")
	e.load(ctx)
	if e.loadErr != nil {
		return fmt.Errorf("load the model again: %w", e.loadErr)
	}
	return nil
}
