package sd

import (
	"fmt"
	"slices"

	"waggle/internal/nn"
	"waggle/internal/sampler"
)

// seated is the UNet's program for the drawing, with what does not change with its steps.
func (p *Pipeline) seated(d *Drawing) (*compiled, error) {
	c, s := p.networks.unet.config, d.Shape()
	unet, err := p.program(fmt.Sprint("unet ", s), p.networks.unet.tensors, func() *nn.Graph {
		return unetGraph(p.networks.unet, s.Passes, d.height, d.width, s.Tokens)
	})
	if err != nil || unet.seat == d {
		return unet, err
	}
	unet.seat = nil
	for name, v := range c.inputs(d.times, d.prompts, d.Height, d.Width) {
		if err := unet.SetInput(name, v); err != nil {
			return nil, err
		}
	}
	unet.seat = d
	return unet, nil
}

// inputs are what does not depend on the latent: sinusoids of every time for every pass, text states, added vector.
func (c UNetConfig) inputs(times []float64, prompts []conditioning, height, width int) map[string][]float32 {
	in := map[string][]float32{}
	for _, t := range times {
		row := sinusoids(t, c.Widths[0], c.TimeFlip, c.TimeShift)
		in["time"] = append(in["time"], slices.Repeat(row, len(prompts))...)
	}
	for _, prompt := range prompts {
		in["context"] = append(in["context"], prompt.context...)
		if c.Added > 0 {
			// The picture is as large as asked for and not cut out of a larger one.
			sizes := []float32{float32(height), float32(width), 0, 0, float32(height), float32(width)}
			in["added"] = append(in["added"], added(c, prompt.pooled, sizes)...)
		}
	}
	return in
}

// denoised is the sampler's question: the clean latent that the network sees in x [C,H,W] at a noise level.
func (d *Drawing) denoised(x []float32, at sampler.Point) ([]float32, error) {
	step := slices.Index(d.times, at.Timestep)
	if step < 0 {
		return nil, fmt.Errorf("time %v is not one of the sampler's", at.Timestep)
	}
	unet, err := d.pipeline.seated(d)
	if err != nil {
		return nil, fmt.Errorf("unet: %w", err)
	}
	cells := d.height * d.width
	one := transposed(x, 1, d.channels, cells)
	scale := float32(at.InputScale())
	for i := range one {
		one[i] *= scale
	}
	out, err := run(unet, step, "sample", slices.Repeat(one, d.passes), "prediction")
	if err != nil {
		return nil, fmt.Errorf("unet: %w", err)
	}
	out = transposed(out, d.passes, cells, d.channels)
	if d.passes == 2 {
		out = sampler.Guide(out[:len(x)], out[len(x):], d.Guidance)
	}
	d.guess, err = at.Denoise(d.pipeline.model.Config().Prediction, x, out)
	return d.guess, err
}

// run gives a program its one changing input, runs a step and reads one output.
func run(p program, step int, input string, v []float32, output string) ([]float32, error) {
	if err := p.SetInput(input, v); err != nil {
		return nil, err
	}
	if err := p.Run(step); err != nil {
		return nil, err
	}
	return p.Output(output)
}
