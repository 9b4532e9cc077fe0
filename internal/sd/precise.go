package sd

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"waggle/internal/nn"
	"waggle/internal/weights"
)

// Weights are kept in float16, which ends at 65504, and everything else is computed in float32. A network whose weights go
// beyond, or whose result is not finite, is computed again with weights in float32, and from then on.

// NotFiniteError says that a network gave a result that is no number, with weights in float32 too.
type NotFiniteError struct{ Stage string }

func (e *NotFiniteError) Error() string {
	return fmt.Sprintf("the result of the %s is not finite, with weights in float32 too: the model's file is damaged, or its numbers are too large", e.Stage)
}

// exact is a network's weights of which some are kept in float32.
type exact struct {
	weights.Source
	base    weights.Source  // what it shares all other weights with
	changes nn.Changed      // on top of the base, or nil
	wide    map[string]bool // names of the tensors; nil for all
}

// newExact keeps those tensors in float32 that go beyond float16; all if none does.
func newExact(source weights.Source) *exact {
	e := &exact{Source: source, base: source, wide: map[string]bool{}}
	if changes, ok := source.(nn.Changed); ok {
		e.base, e.changes = changes.Base(), changes
	}
	for _, name := range e.base.Names() {
		if t, ok := e.base.Tensor(name); ok && t.DType != weights.F16 {
			if _, err := t.Float16s(); errors.Is(err, weights.ErrOverflow) {
				e.wide[name] = true
			}
		}
	}
	if len(e.wide) == 0 {
		e.wide = nil
	}
	return e
}

func (e *exact) Base() weights.Source { return e.base }

func (e *exact) Touches(name string) bool {
	return e.wide == nil || e.wide[name] || e.changes != nil && e.changes.Touches(name)
}

// Factors are those of the changes, where they can be added to a base in float16.
func (e *exact) Factors(name string) (rank int, up, down []float32, ok bool) {
	if e.wide == nil || e.wide[name] || e.changes == nil {
		return 0, nil, nil, false
	}
	return e.changes.Factors(name)
}

// precise is a network's weights as they are to be used.
func (p *Pipeline) precise(source weights.Source) weights.Source {
	if e, ok := p.exact[source]; ok {
		return e
	}
	return source
}

// widen has a network computed with weights in float32 from now on. False if it is already.
func (p *Pipeline) widen(source weights.Source) bool {
	if p.exact[source] != nil {
		return false
	}
	p.exact[source] = newExact(source)
	if stage := p.stageOf(source); !slices.Contains(p.redone, stage) {
		p.redone = append(p.redone, stage)
	}
	return true
}

// stageOf names a network for people.
func (p *Pipeline) stageOf(source weights.Source) string {
	source = baseOf(source)
	if source == p.networks.unet.tensors {
		return "unet"
	}
	for i, text := range p.networks.text {
		if text.tensors == source {
			return fmt.Sprintf("text encoder %d", i+1)
		}
	}
	return "decoder" // the model's own or another
}

// SetInput gives a value, and keeps it for a second time.
func (c *compiled) SetInput(name string, v []float32) error {
	c.inputs[name] = v
	return c.program.SetInput(name, v)
}

// Output is a result, computed a second time with weights in float32 where it is not finite.
func (c *compiled) Output(name string) ([]float32, error) {
	out, err := c.program.Output(name)
	if err != nil || finite(out) {
		return out, err
	}
	if !c.pipeline.widen(c.part.source) {
		return nil, &NotFiniteError{c.pipeline.stageOf(c.part.source)}
	}
	if err := c.anew(); err != nil {
		return nil, err
	}
	return c.Output(name)
}

// anew compiles and runs the program again.
func (c *compiled) anew() error {
	p, inputs, seats := c.pipeline, c.inputs, c.seats
	p.programs.remove(c.key)
	fresh, err := p.batchProgram(c.key, c.part)
	if err != nil {
		return err
	}
	*c = *fresh
	c.seats, p.programs.values[c.key] = seats, c
	if err := give(c, inputs); err != nil {
		return err
	}
	return c.Run()
}

func finite(values []float32) bool {
	for _, v := range values {
		if math.Float32bits(v)&0x7f800000 == 0x7f800000 {
			return false
		}
	}
	return true
}

// Redone names the stages of a picture that are computed with weights in float32, once it is finished.
func (d *Drawing) Redone() (stages []string) {
	p, set := d.pipeline, d.loras
	if set != nil {
		if kept, ok := p.loras.get(set.key); ok { // the set may have been dropped and opened again
			set = kept
		}
	}
	var bases []weights.Source
	for _, text := range p.networks.text {
		bases = append(bases, text.tensors)
	}
	bases = append(bases, p.networks.unet.tensors)
	if vae, err := p.decoder(d.VAE); err == nil {
		bases = append(bases, vae.tensors)
	}
	for _, base := range bases {
		if p.exact[set.source(base)] != nil {
			stages = append(stages, p.stageOf(base))
		}
	}
	return stages
}

// Redone names the stages that were computed with weights in float32 because float16 did not do: text encoder 1, unet, decoder.
func (p *Pipeline) Redone() []string { return slices.Clone(p.redone) }
