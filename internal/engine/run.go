package engine

import (
	"context"
	"errors"
	"fmt"
	"image"
	"runtime/debug"
	"time"

	"waggle/gpu"
	"waggle/internal/job"
	"waggle/internal/picture"
	"waggle/internal/queue"
	"waggle/internal/sd"
)

// Why a job's context ends before its time.
var (
	errCancelled = errors.New("cancelled")
	errTooLong   = errors.New("took too long")
)

// serve runs one job to its end, or hands it back if ctx ends.
func (e *Engine) serve(ctx context.Context, lease queue.Lease) {
	if e.pipeline != nil {
		e.tell(job.Busy, "")
	}
	began := time.Now()
	id := lease.Record().ID
	outcome, err := e.attempt(ctx, lease)
	if errors.Is(err, gpu.ErrDeviceLost) && e.reload(ctx, err.Error()) == nil {
		outcome, err = e.attempt(ctx, lease)
	}
	if ctx.Err() != nil && !cancelled(lease) {
		if err := lease.HandBack(context.WithoutCancel(ctx)); err != nil && !errors.Is(err, queue.ErrLeaseLost) {
			e.Log.Error("hand a job back", "job", id, "error", err)
		}
		return
	}
	if err != nil && cancelled(lease) {
		err = errCancelled
	}
	outcome.Elapsed = time.Since(began)
	e.finish(context.WithoutCancel(ctx), lease, outcome, err)
	e.recover(ctx, err)
}

// recover makes the pipeline usable again for the next job.
func (e *Engine) recover(ctx context.Context, err error) {
	var p *panicError
	if (errors.As(err, &p) || errors.Is(err, gpu.ErrDeviceLost)) && ctx.Err() == nil {
		_ = e.reload(ctx, err.Error()) // it has told the node's record
	}
	if e.pipeline != nil {
		e.tell(job.Ready, "")
	}
}

func cancelled(l queue.Lease) bool {
	select {
	case <-l.Cancelled():
		return true
	default:
		return false
	}
}

// finish records how a job ended, then tells its readers: whoever hears of the
// end finds record and pictures in place.
func (e *Engine) finish(ctx context.Context, lease queue.Lease, o job.Outcome, err error) {
	state := job.Complete
	if err != nil {
		state = job.Failed
		o.Kind, o.Message = explain(err)
		if o.Kind == job.CancelledByUser {
			state = job.Cancelled
		}
		e.logFailure(lease.Record().ID, o.Kind, err)
	}
	record, err := lease.Finish(ctx, state, o)
	if err != nil {
		e.Log.Error("finish a job", "job", lease.Record().ID, "error", err)
		return
	}
	if last, ended := record.EndEvent(); ended {
		e.publish(ctx, record.ID, last)
	}
}

func (e *Engine) logFailure(id job.ID, kind job.Kind, err error) {
	switch kind {
	case job.CancelledByUser, job.InvalidInput:
		e.Log.Info("job ended", "job", id, "kind", kind, "error", err)
	default:
		e.Log.Error("job failed", "job", id, "kind", kind, "error", err)
	}
}

func (e *Engine) publish(ctx context.Context, id job.ID, ev job.Event) {
	if err := e.Events.Publish(ctx, id, ev); err != nil {
		e.Log.Error("publish an event", "job", id, "type", ev.Type, "error", err)
	}
}

// attempt makes a job's pictures once. The error is errCancelled, errTooLong,
// that of ctx, or what went wrong.
func (e *Engine) attempt(ctx context.Context, lease queue.Lease) (job.Outcome, error) {
	record := lease.Record()
	if e.pipeline == nil {
		return job.Outcome{}, e.loadErr
	}
	if err := e.refuse(record.Request); err != nil {
		return job.Outcome{}, err
	}
	if m := record.Request.Model; m != e.Node.ModelID {
		e.Log.Info("the request names another model than the one loaded", "job", record.ID, "requested", m, "loaded", e.Node.ModelID)
	}
	ctx, stop := e.limited(ctx, lease)
	defer stop()
	var o job.Outcome
	for i := range record.Request.Pictures() {
		p, err := e.draw(ctx, record, i)
		if ctx.Err() != nil {
			return job.Outcome{}, context.Cause(ctx)
		}
		if err != nil {
			return job.Outcome{}, err
		}
		o.Pictures = append(o.Pictures, p)
	}
	return o, nil
}

// limited returns a context that ends with ctx, when the job is cancelled, or
// when it has taken too long.
func (e *Engine) limited(ctx context.Context, lease queue.Lease) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	limited, stop := context.WithTimeoutCause(ctx, e.JobLimit, errTooLong)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-lease.Cancelled():
			cancel(errCancelled)
		case <-limited.Done():
		}
	}()
	return limited, func() {
		stop()
		cancel(nil)
		<-watched
	}
}

// draw makes picture number i of a job and stores it.
func (e *Engine) draw(ctx context.Context, record job.Record, i int) (job.Picture, error) {
	seed := record.Seed + uint64(i)
	request := Request(record.Request, seed)
	var err error
	if request.From, err = e.from(ctx, record.ID, i); err != nil {
		return job.Picture{}, err
	}
	img, err := e.generateKept(ctx, record, i, request)
	if errors.Is(err, sd.ErrOtherPicture) {
		e.Log.Warn("begin the picture anew", "job", record.ID, "picture", i, "because", err)
		request.From = nil
		img, err = e.generateKept(ctx, record, i, request)
	}
	if ctx.Err() != nil {
		return job.Picture{}, ctx.Err()
	}
	if err != nil {
		return job.Picture{}, e.diagnose(request, err)
	}
	about := Parameters(record.Request, seed, e.pipeline.Info().Name, e.Version)
	file, err := picture.EncodePNG(img, picture.Text{Keyword: picture.ParametersKeyword, Value: about.String()})
	if err != nil {
		return job.Picture{}, fmt.Errorf("encode picture: %w", err)
	}
	if err := e.Store.Put(ctx, record.ID, i, file); err != nil {
		return job.Picture{}, &job.Error{Kind: job.Internal, Message: "The picture could not be stored on the server", Err: err}
	}
	if e.Checkpoints != nil {
		if err := e.Checkpoints.Remove(ctx, record.ID, i); err != nil {
			e.Log.Warn("remove a checkpoint", "job", record.ID, "error", err)
		}
	}
	size := img.Bounds().Size()
	return job.Picture{Seed: seed, Width: size.X, Height: size.Y}, nil
}

// generateKept draws, reports every step and saves checkpoints.
func (e *Engine) generateKept(ctx context.Context, record job.Record, i int, r sd.Request) (*image.NRGBA, error) {
	k := e.keep(ctx, record.ID, i)
	defer k.done()
	return e.generate(ctx, r, func(p sd.Progress) {
		e.step(ctx, record, i, p)
		k.step(p)
	})
}

// panicError is a panic of the pipeline.
type panicError struct{ value any }

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// generate is the pipeline's, with panics turned into errors.
func (e *Engine) generate(ctx context.Context, r sd.Request, onStep func(sd.Progress)) (img *image.NRGBA, err error) {
	defer func() {
		if v := recover(); v != nil {
			e.Log.Error("panic while drawing", "panic", v, "stack", string(debug.Stack()))
			err = &panicError{v}
		}
	}()
	return e.pipeline.Generate(ctx, r, onStep)
}

// diagnose asks the pipeline's plan why a picture could not be made: a request
// it refuses too is the caller's fault, and what does not fit has a size.
func (e *Engine) diagnose(r sd.Request, err error) error {
	var p *panicError
	if errors.As(err, &p) || errors.Is(err, gpu.ErrDeviceLost) {
		return err
	}
	plan, refused := e.pipeline.Plan(r, 1)
	switch {
	case refused != nil:
		return job.Errorf(job.InvalidInput, "Invalid input: %w", refused)
	case errors.Is(err, gpu.ErrOutOfMemory):
		return &job.Error{Kind: job.OutOfMemory, Err: err, Message: fmt.Sprintf(
			"Out of GPU memory: a picture of %d×%d needs about %d MiB: ask for a smaller one", r.Width, r.Height, plan.Total()>>20)}
	}
	return err
}

// step reports a step of picture number i: first its preview, then the event
// that sends readers to look for it. Steps count over all pictures of the job.
func (e *Engine) step(ctx context.Context, record job.Record, i int, p sd.Progress) {
	if ctx.Err() != nil {
		return
	}
	step, total := i*p.Total+p.Step, record.Request.Pictures()*p.Total
	latent := job.NewLatent(p.Latent.Channels, p.Latent.Height, p.Latent.Width, p.Latent.Data)
	err := e.Events.ShowPreview(ctx, record.ID, job.Preview{Step: step, Total: total, Latent: latent})
	if err != nil {
		e.Log.Warn("show a preview", "job", record.ID, "error", err)
	}
	e.publish(ctx, record.ID, job.StepEvent(step, total))
}
