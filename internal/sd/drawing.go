package sd

import (
	"fmt"
	"image"

	"waggle/internal/noise"
	"waggle/internal/sampler"
)

// Drawing is a picture under way, between two steps. It belongs to the pipeline that began it and is used like the
// pipeline: not concurrently.
type Drawing struct {
	settings
	pipeline *Pipeline
	guides   []guide        // the negative prompt, where it counts, and the parts of the positive one
	prompts  []conditioning // what each of them says in the step to come
	phases   []int          // which of their phases that is
	turns    int            // how often it changed
	step     int            // steps done
	latent   []float32      // [C,H,W] after them
	guess    []float32      // [C,H,W] the network's latest estimate of the clean latent; nil before the first
	sampler  *sampler.Sampler
	noise    *noise.Picture
	brownian *noise.Brownian // in place of the noise of steps, for samplers that take theirs from one
	terms    []Term          // once they are asked for
}

// Shape is what drawings have in common that can be stepped together. Shapes are compared with ==.
type Shape struct {
	Width, Height int // pixels
	Passes        int // of the network a question: 1 without guidance, 2 with it, more where AND joins prompts
	Tokens        int // of each prompt, fillers included

	LoRAs string // those that change the UNet, with their strengths; empty for none
}

// Begin reads the prompts and makes the noise of a picture, or goes on from r.From.
func (p *Pipeline) Begin(r Request) (*Drawing, error) {
	s, err := p.settle(r)
	if err != nil {
		return nil, err
	}
	d, err := p.begin(s)
	if err != nil {
		return nil, err
	}
	if d.guides, err = p.guides(s); err != nil {
		return nil, err
	}
	d.turn()
	return d, nil
}

// begin is a picture before its first step, or after the step of its checkpoint, still without prompts.
func (p *Pipeline) begin(s settings) (*Drawing, error) {
	from := s.From
	s.From = nil // its memory is not needed for long
	d := &Drawing{settings: s, pipeline: p}
	var err error
	if d.sampler, err = s.newSampler(); err != nil {
		return nil, err
	}
	if d.brownian, err = s.newBrownian(); err != nil {
		return nil, err
	}
	if from != nil {
		return d, d.resume(from)
	}
	if d.noise, err = s.dialect.Picture(s.Seed); err != nil {
		return nil, err
	}
	d.latent = s.grid.Init(d.noise.Initial(s.channels * s.height * s.width))
	return d, nil
}

// Finish decodes a drawing whose steps are all done.
func (p *Pipeline) Finish(d *Drawing) (*image.NRGBA, error) {
	if !d.Done() {
		return nil, fmt.Errorf("finish: %d of %d steps are done", d.step, d.Total())
	}
	picture, err := p.decode(d.settings, d.latent)
	if err != nil {
		return nil, err
	}
	share := float32(rounded)
	if d.dialect.Truncates {
		share = truncated
	}
	return toImage(picture, d.Width, d.Height, share), nil
}

// Shape of the drawing that a request would begin. It reads the prompts, but computes nothing on the device.
func (p *Pipeline) Shape(r Request) (Shape, error) {
	s, err := p.settle(r)
	if err != nil {
		return Shape{}, err
	}
	return p.shape(s)
}

func (p *Pipeline) shape(s settings) (Shape, error) {
	guides, err := p.read(s)
	if err != nil {
		return Shape{}, err
	}
	tokens := commonLength(guides) * p.networks.text[0].config.Positions
	return Shape{Width: s.Width, Height: s.Height, Passes: s.passes, Tokens: tokens, LoRAs: s.loras.keyOf(p.networks.unet.tensors)}, nil
}

// Shape says which other drawings this one can be stepped with.
func (d *Drawing) Shape() Shape {
	tokens := len(d.prompts[0].context) / d.pipeline.networks.unet.config.Context
	return Shape{Width: d.Width, Height: d.Height, Passes: d.passes, Tokens: tokens, LoRAs: d.loras.keyOf(d.pipeline.networks.unet.tensors)}
}

// StepsDone counts the steps that are done, those before a checkpoint included.
func (d *Drawing) StepsDone() int { return d.step }

// Total is the number of all steps.
func (d *Drawing) Total() int { return d.grid.Steps() }

// Done says that no step is left: the drawing can be finished.
func (d *Drawing) Done() bool { return d.step == d.Total() }

// Guess is the network's estimate of the finished picture in the latest step, without the noise that is still to go. It has
// no data before the first step that this drawing makes. Not to be changed.
func (d *Drawing) Guess() Latent { return d.latentOf(d.guess) }

func (d *Drawing) latentOf(data []float32) Latent {
	return Latent{Channels: d.channels, Height: d.height, Width: d.width, Data: data}
}
