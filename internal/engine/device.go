package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"waggle/internal/job"
	"waggle/internal/sd"
)

// How a device is opened again: after these times, then when somebody needs it;
// where another adapter does the work, every so often.
var (
	reopenAfter = []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}
	reopenEvery = 10 * time.Second
	closeLimit  = 10 * time.Second // for a broken device to be closed before it is opened again
)

// start opens the device and loads the node's own model.
func (e *Engine) start(ctx context.Context) {
	e.seat.tell(job.Starting, "")
	err := e.open()
	if err == nil {
		_, err = e.prepare(e.Node.fallback, nil)
	}
	if broken(err) {
		e.replace(ctx, err)
	}
	e.settled()
}

// settled tells the node how an engine without work is.
func (e *Engine) settled() {
	if trouble := cmp.Or(e.deviceTrouble, e.modelTrouble); trouble != "" {
		e.seat.tell(job.Starting, trouble)
		return
	}
	e.seat.tell(job.Ready, "")
}

// open opens the device, if it is not.
func (e *Engine) open() error {
	if e.owner != nil {
		return nil
	}
	e.owner = hire(e.Log, e.Meter)
	name, err := ask(e.owner, e.stopping, callLimit, func(d *desk) (string, error) {
		if err := d.open(e.Open, e.Memory); err != nil {
			return "", err
		}
		return d.device.Name(), nil
	})
	if err != nil {
		e.owner.dismiss()
		e.owner = nil
		e.note(&e.deviceTrouble, "open the device", err)
		return kinded(err)
	}
	e.deviceTrouble = ""
	e.Adapter = name
	e.seat.name(name)
	return nil
}

// note remembers why something cannot be used.
func (e *Engine) note(trouble *string, what string, err error) {
	if errors.Is(err, errStopping) {
		return
	}
	*trouble = kinded(err).Error()
	e.Log.Error(what, "adapter", e.Adapter, "error", err)
}

// kinded gives an error for people a kind, where it has none.
func kinded(err error) error {
	var known *job.Error
	var planned *planError
	var refused *sd.BudgetError
	if err == nil || errors.As(err, &known) || errors.As(err, &planned) || errors.As(err, &refused) || errors.Is(err, errStopping) || broken(err) {
		return err
	}
	return &job.Error{Kind: job.Internal, Message: err.Error(), Err: err}
}

// ready is a loaded model, and what is known of drawing a request with it.
type ready struct {
	batch
	fresh bool // it was loaded for this
	info  sd.Info
	hold
}

// prepare opens the device and loads a model. For a request it says with which
// others it can be drawn together, and how many.
func (e *Engine) prepare(name string, r *sd.Request) (batch, error) {
	if err := e.open(); err != nil {
		return batch{}, err
	}
	began := time.Now()
	got, err := ask(e.owner, e.stopping, callLimit, func(d *desk) (ready, error) { return d.prepare(name, r, e.MaxBatch) })
	if err != nil {
		if name == e.Node.fallback && !broken(err) && r == nil {
			e.note(&e.modelTrouble, "load model "+name, err)
		}
		return batch{}, kinded(err)
	}
	if got.fresh {
		e.Log.Info("model loaded", "model", name, "adapter", e.Adapter, "seconds", time.Since(began).Seconds())
	}
	if name == e.Node.fallback {
		e.modelTrouble = ""
	}
	e.Node.describe(name, ModelInfo(got.info))
	e.seat.holds(got.hold)
	return got.batch, nil
}

// prepare is the owner's part.
func (d *desk) prepare(name string, r *sd.Request, limit int) (ready, error) {
	fresh := !slices.Contains(d.names(), name)
	m, err := d.model(name)
	if err != nil {
		return ready{}, err
	}
	got := ready{batch: batch{model: name}, fresh: fresh, info: m.Info()}
	if r != nil {
		if got.shape, err = m.Shape(*r); err == nil {
			got.most, err = d.most(m, *r, got.shape, limit)
		}
		if err == nil {
			err = d.makeRoom(m, *r, got.shape, 1)
		}
		if err = diagnose(m, *r, err); err != nil {
			return ready{}, err
		}
	}
	got.hold = d.hold()
	return got, nil
}

// replace abandons a device that must not be used any more and opens it anew.
// Pictures under way go on from their newest checkpoints; where the device
// cannot be opened, their jobs go back into the line.
func (e *Engine) replace(ctx context.Context, why error) bool {
	if errors.Is(why, errStopping) {
		return false
	}
	e.Meter.Abandoned(reason(why))
	e.Log.Warn("open the device anew", "adapter", e.Adapter, "because", why)
	e.seat.tell(job.Starting, "")
	e.abandon(why)
	for _, after := range reopenAfter {
		if !e.pauseFor(after) {
			return false
		}
		if e.open() == nil {
			e.seat.tell(job.Busy, "")
			return true
		}
	}
	e.seat.tell(job.Starting, e.deviceTrouble)
	e.handBackAll(ctx, e.drawing(), saveLimit)
	return false
}

// abandon lets the owner go with all it has. One that hangs closes its device
// when its call comes back; another is given time to.
func (e *Engine) abandon(why error) {
	if e.owner == nil {
		return
	}
	e.owner.dismiss()
	var hung *hungError
	if !errors.As(why, &hung) {
		select {
		case <-e.owner.gone:
		case <-time.After(closeLimit):
		case <-e.stopping:
		}
	}
	e.owner = nil
	e.seat.holds(hold{})
	for _, r := range e.runs {
		for _, c := range r.canvases {
			c.drawing = nil
		}
	}
}
