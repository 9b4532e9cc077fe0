package sd

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"waggle/internal/sampler"
)

// Step does the next step of each drawing, all of them together: one run of the network answers all. They must have the same
// shape. After an error go on from checkpoints: some of the drawings may be a step further than others.
func (p *Pipeline) Step(drawings ...*Drawing) error {
	if err := p.canStep(drawings); err != nil {
		return fmt.Errorf("step: %w", err)
	}
	var all []*stepping
	for _, d := range drawings {
		s := d.stepping()
		defer s.stop()
		all = append(all, s)
	}
	for {
		asking, err := questions(all)
		if err != nil || len(asking) == 0 {
			return err
		}
		if err := p.answer(asking); err != nil {
			return fmt.Errorf("unet: %w", err)
		}
		all = asking // the others' steps are done; some samplers ask again
	}
}

// canStep refuses drawings that cannot do a step together.
func (p *Pipeline) canStep(drawings []*Drawing) error {
	for i, d := range drawings {
		switch {
		case d.pipeline != p:
			return fmt.Errorf("drawing %d was begun with another model", i)
		case d.Done():
			return fmt.Errorf("drawing %d has had all of its %d steps", i, d.Total())
		case d.Shape() != drawings[0].Shape():
			return fmt.Errorf("drawing %d of shape %+v beside one of %+v", i, d.Shape(), drawings[0].Shape())
		case slices.Contains(drawings[:i], d):
			return fmt.Errorf("drawing %d is there twice", i)
		}
	}
	return nil
}

// stepping is a step of a drawing that halts wherever its sampler asks the network, until the answer is there.
type stepping struct {
	*Drawing
	question
	answer sampler.Estimate // [C,H,W] each
	next   func() (question, bool)
	stop   func()
	err    error // why the step could not be done
}

// question of a sampler: what clean latent does the network see in x [C,H,W] at a noise level?
type question struct {
	x  []float32
	at sampler.Point
}

// stepping begins the drawing's next step, as a coroutine.
func (d *Drawing) stepping() *stepping {
	d.turn()
	s := &stepping{Drawing: d}
	s.next, s.stop = iter.Pull(func(ask func(question) bool) {
		denoise := func(x []float32, at sampler.Point) (sampler.Estimate, error) {
			if !ask(question{x, at}) {
				return sampler.Estimate{}, errors.New("the step was given up")
			}
			return s.answer, nil
		}
		if s.err = d.sampler.Step(d.step, d.latent, denoise, d.freshNoise); s.err == nil {
			d.step++
		}
	})
	return s
}

// freshNoise is the source of noise of a sampler.
func (d *Drawing) freshNoise(n int, from, to float64) []float32 {
	if d.brownian != nil {
		return d.brownian.Between(n, from, to)
	}
	return d.noise.Step(n)
}

// questions lets every step go on to its next question, and returns those that have one.
func questions(all []*stepping) (asking []*stepping, err error) {
	for _, s := range all {
		q, ok := s.next()
		if s.err != nil {
			return nil, s.err
		}
		if ok {
			s.question = q
			asking = append(asking, s)
		}
	}
	return asking, nil
}
