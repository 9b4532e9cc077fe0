package engine

import (
	"image"

	"waggle/internal/sd"
)

// Device is an open adapter. All calls on it and on what it loads are made on
// one goroutine.
type Device interface {
	// Load prepares a model by name, which is to keep to a budget in bytes; 0 for
	// none. Its error is shown to people; make it a *job.Error to give it a kind.
	Load(model string, budget int64) (Pipeline, error)
	// Name of the adapter, for people.
	Name() string
	// Memory is what models may take, in bytes; 0 where the adapter does not tell.
	Memory() int64
	// Used is what is taken of it now, in bytes.
	Used() int64
	Close()
}

// Pipeline draws with one model; Wrap makes one of an *sd.Pipeline, whose
// methods these are.
type Pipeline interface {
	Begin(r sd.Request) (Drawing, error)
	Step(ds ...Drawing) error
	Finish(d Drawing) (*image.NRGBA, error)
	Shape(r sd.Request) (sd.Shape, error)
	Plan(r sd.Request, batch int) (sd.Plan, error)
	Info() sd.Info
	Close()
}

// Drawing is a picture under way; *sd.Drawing is one.
type Drawing interface {
	StepsDone() int
	Total() int
	Done() bool
	Guess() sd.Latent
	Checkpoint() (*sd.Checkpoint, error)
}

var _ Drawing = (*sd.Drawing)(nil)

// Wrap makes a Pipeline of sd's. close gives back what belongs to it beside
// the pipeline; it may be nil.
func Wrap(p *sd.Pipeline, close func()) Pipeline { return wrapped{p, close} }

type wrapped struct {
	*sd.Pipeline
	close func()
}

func (w wrapped) Begin(r sd.Request) (Drawing, error) {
	d, err := w.Pipeline.Begin(r)
	if err != nil {
		return nil, err // and not a Drawing that holds a nil
	}
	return d, nil
}

func (w wrapped) Step(ds ...Drawing) error {
	own := make([]*sd.Drawing, len(ds))
	for i, d := range ds {
		own[i] = d.(*sd.Drawing)
	}
	return w.Pipeline.Step(own...)
}

func (w wrapped) Finish(d Drawing) (*image.NRGBA, error) { return w.Pipeline.Finish(d.(*sd.Drawing)) }

func (w wrapped) Close() {
	w.Pipeline.Close()
	if w.close != nil {
		w.close()
	}
}
