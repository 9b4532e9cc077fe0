package sd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"waggle/internal/noise"
	"waggle/internal/sampler"
)

// ErrOtherPicture is in the error of a request that goes on from a checkpoint of something else.
var ErrOtherPicture = errors.New("the checkpoint is of another picture")

// Stopped is Generate's error where it was asked to stop: no picture yet, but all that is needed to go on.
type Stopped struct{ Checkpoint *Checkpoint }

func (e *Stopped) Error() string {
	return fmt.Sprintf("stopped after step %d of %d", e.Checkpoint.Step, e.Checkpoint.Total)
}

// work is a picture under way: what changes from step to step.
type work struct {
	settings
	step    int       // steps done
	latent  []float32 // [C,H,W] after them
	sampler *sampler.Sampler
	noise   *noise.Picture
	stop    bool // asked for by Progress.Stop
	terms   []Term
}

// begin is a picture before its first step, or after the step of its checkpoint.
func (p *Pipeline) begin(s settings) (*work, error) {
	w := &work{settings: s}
	var err error
	if w.sampler, err = s.newSampler(); err != nil {
		return nil, err
	}
	if s.From != nil {
		return w, p.resume(w, s.From)
	}
	if w.noise, err = s.dialect.Picture(s.Seed); err != nil {
		return nil, err
	}
	w.latent = s.grid.Init(w.noise.Initial(s.channels * s.height * s.width))
	return w, nil
}

// resume brings w to where a checkpoint was made.
func (p *Pipeline) resume(w *work, c *Checkpoint) (err error) {
	if w.terms, err = p.terms(w.settings); err != nil {
		return err
	}
	if differ := differences(c.Terms, w.terms); len(differ) > 0 {
		return fmt.Errorf("%w: %s", ErrOtherPicture, strings.Join(differ, "; "))
	}
	if err := c.fits(w.settings); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := w.sampler.Restore(sampler.State{Next: c.Step, History: c.History}); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if w.noise, err = noise.RestorePicture(c.Noise); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	w.step, w.latent = c.Step, slices.Clone(c.Latent.Data)
	return nil
}

// fits finds what contradicts the terms of a checkpoint.
func (c *Checkpoint) fits(s settings) error {
	l, n := c.Latent, s.channels*s.height*s.width
	if l.Channels != s.channels || l.Height != s.height || l.Width != s.width || len(l.Data) != n {
		return fmt.Errorf("a latent of %d×%d×%d, want %d×%d×%d", l.Channels, l.Height, l.Width, s.channels, s.height, s.width)
	}
	for _, old := range c.History {
		if len(old) != n {
			return fmt.Errorf("an earlier latent of %d values, want %d", len(old), n)
		}
	}
	if c.Total != s.grid.Steps() {
		return fmt.Errorf("%d steps, want %d", c.Total, s.grid.Steps())
	}
	return c.fitsNoise(s)
}

// fitsNoise checks the generators: whose they are, and that no step can have brought them further.
func (c *Checkpoint) fitsNoise(s settings) error {
	states, kinds := []noise.State{c.Noise.Initial}, []noise.Kind{s.dialect.Initial}
	if c.Noise.Steps != nil {
		states = append(states, *c.Noise.Steps)
	}
	if !s.dialect.Joined {
		kinds = append(kinds, s.dialect.Steps)
	}
	if len(states) != len(kinds) {
		return fmt.Errorf("%d noise generators, dialect %s has %d", len(states), s.dialect.Name, len(kinds))
	}
	most := uint64(1+2*c.Step) * uint64(s.channels*s.height*s.width+16) // a step adds noise twice at most
	for i, state := range states {
		if state.Kind != kinds[i] || state.Seed != s.Seed || state.Position.Count > most {
			return fmt.Errorf("noise generator %s of seed %d at %d, want %s of seed %d at %d or before",
				state.Kind, state.Seed, state.Position.Count, kinds[i], s.Seed, most)
		}
	}
	return nil
}

// checkpoint copies what changes from step to step.
func (p *Pipeline) checkpoint(w *work) (*Checkpoint, error) {
	if w.terms == nil {
		var err error
		if w.terms, err = p.terms(w.settings); err != nil {
			return nil, fmt.Errorf("checkpoint: %w", err)
		}
	}
	latent := Latent{Channels: w.channels, Height: w.height, Width: w.width, Data: slices.Clone(w.latent)}
	return &Checkpoint{Terms: w.terms, Step: w.step, Total: w.grid.Steps(), Latent: latent,
		History: w.sampler.State().History, Noise: w.noise.State()}, nil
}

// progress is what is told of the step just done, and a function that ends the time in which a checkpoint can be made.
func (p *Pipeline) progress(w *work, guess []float32, elapsed time.Duration) (told Progress, end func()) {
	ended := false
	return Progress{
		Step: w.step, Total: w.grid.Steps(), Elapsed: elapsed,
		Latent: Latent{Channels: w.channels, Height: w.height, Width: w.width, Data: guess},
		Checkpoint: func() (*Checkpoint, error) {
			if ended {
				return nil, errors.New("checkpoint: asked for when the step's report was over")
			}
			return p.checkpoint(w)
		},
		Stop: func() { w.stop = w.stop || !ended },
	}, func() { ended = true }
}
