package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"waggle/gpu"
)

// How long calls may take that have no median: those that load, compile, read
// prompts or decode.
const callLimit = 15 * time.Minute

// errStopping: the engine shall stop; the call may still run.
var errStopping = errors.New("the engine stops")

// hungError is a call that gave no answer in time.
type hungError struct{ after time.Duration }

func (h *hungError) Error() string { return fmt.Sprintf("no answer for %v", h.after) }

// panicError is a panic on the owner's goroutine.
type panicError struct{ value any }

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// broken reports whether err leaves a device that must not be used any more.
func broken(err error) bool {
	var hung *hungError
	var panicked *panicError
	return errors.As(err, &hung) || errors.As(err, &panicked) || errors.Is(err, gpu.ErrDeviceLost)
}

// owner is the goroutine that makes all calls on one device and its models. It
// alone opens, uses and closes them.
type owner struct {
	calls chan func(*desk)
	gone  chan struct{} // closed when the device is closed
	log   *slog.Logger
}

// hire starts an owner with an empty desk.
func hire(log *slog.Logger, meter Meter) *owner {
	o := &owner{calls: make(chan func(*desk)), gone: make(chan struct{}), log: log}
	go func() {
		defer close(o.gone)
		d := &desk{meter: meter}
		for f := range o.calls {
			f(d)
		}
		_, _ = guarded(log, d, func(d *desk) (any, error) { d.close(); return nil, nil })
	}()
	return o
}

// dismiss lets the owner close its things and end: at once, or whenever the
// call that it is in comes back.
func (o *owner) dismiss() { close(o.calls) }

// ask has f called by the owner and waits for its answer: for the limit, or
// until stop is closed. Without an answer, after a panic and where the device
// is lost, the owner must be dismissed. What f leaves behind must be in its
// answer: it may still run when ask has returned.
func ask[T any](o *owner, stop <-chan struct{}, limit time.Duration, f func(*desk) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	calls := o.calls
	call := func(d *desk) {
		value, err := guarded(o.log, d, f)
		answers <- answer{value, err}
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case calls <- call:
			calls = nil
		case a := <-answers:
			return a.value, a.err
		case <-timer.C:
			return *new(T), &hungError{limit}
		case <-stop:
			return *new(T), errStopping
		}
	}
}

// guarded is f with its panics turned into errors.
func guarded[T any](log *slog.Logger, d *desk, f func(*desk) (T, error)) (value T, err error) {
	defer func() {
		if v := recover(); v != nil {
			log.Error("panic on the GPU's goroutine", "panic", v, "stack", string(debug.Stack()))
			err = &panicError{v}
		}
	}()
	return f(d)
}
