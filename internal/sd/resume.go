package sd

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"waggle/internal/noise"
	"waggle/internal/sampler"
)

// ErrOtherPicture is in the error of a request that goes on from a checkpoint of something else.
var ErrOtherPicture = errors.New("the checkpoint is of another picture")

// resume brings d to where a checkpoint was made.
func (d *Drawing) resume(c *Checkpoint) (err error) {
	if err = d.describe(); err != nil {
		return err
	}
	if differ := differences(c.Terms, d.terms); len(differ) > 0 {
		return fmt.Errorf("%w: %s", ErrOtherPicture, strings.Join(differ, "; "))
	}
	if err := c.fits(d.settings); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := d.sampler.Restore(sampler.State{Next: c.Step, History: c.History, Numbers: c.Numbers}); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := c.fitsNoise(d.settings, d.sampler.MostNoise()); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if d.noise, err = noise.RestorePicture(c.Noise); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	d.step, d.latent = c.Step, slices.Clone(c.Latent.Data)
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
	return nil
}

// fitsNoise checks the generators: whose they are, and that the sampler, which asks for noise so often at most, cannot have
// brought them further.
func (c *Checkpoint) fitsNoise(s settings, calls int) error {
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
	most := uint64(1+calls) * uint64(s.channels*s.height*s.width+16)
	for i, state := range states {
		if state.Kind != kinds[i] || state.Seed != s.Seed || state.Position.Count > most {
			return fmt.Errorf("noise generator %s of seed %d at %d, want %s of seed %d at %d or before",
				state.Kind, state.Seed, state.Position.Count, kinds[i], s.Seed, most)
		}
	}
	return nil
}

// Checkpoint copies what changes from step to step: all that is needed to go on after the steps done.
func (d *Drawing) Checkpoint() (*Checkpoint, error) {
	if err := d.describe(); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	memory := d.sampler.State()
	return &Checkpoint{Terms: d.terms, Step: d.step, Total: d.Total(), Latent: d.latentOf(slices.Clone(d.latent)),
		History: memory.History, Numbers: memory.Numbers, Noise: d.noise.State()}, nil
}

// describe finds the drawing's terms, once.
func (d *Drawing) describe() (err error) {
	if d.terms == nil {
		d.terms, err = d.pipeline.terms(d.settings)
	}
	return err
}
