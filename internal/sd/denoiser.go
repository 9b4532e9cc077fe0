package sd

import (
	"fmt"
	"slices"

	"waggle/internal/sampler"
)

// denoiser is the UNet at work on one picture.
type denoiser struct {
	unet       program
	s          settings
	prediction sampler.Prediction
	times      []float64 // those the network can be asked at
	sample     []float32 // [passes,H,W,C], filled anew each step
	guess      []float32 // [C,H,W] the latest estimate of the clean latent
}

// denoiser compiles the UNet for a picture and gives it what does not change with the steps.
func (p *Pipeline) denoiser(s settings, prompts []conditioning) (*denoiser, error) {
	c := p.networks.unet.config
	places := len(prompts[0].context) / c.Context
	graph := unetGraph(p.networks.unet, s.passes, s.height, s.width, places)
	unet, err := p.program(fmt.Sprint("unet ", s.passes, s.height, s.width, places), p.networks.unet.tensors, graph)
	if err != nil {
		return nil, fmt.Errorf("unet: %w", err)
	}
	d := &denoiser{unet: unet, s: s, prediction: p.model.Config().Prediction}
	if d.times, err = s.times(); err != nil {
		return nil, err
	}
	for name, v := range c.inputs(d.times, prompts, s.Height, s.Width) {
		if err := unet.SetInput(name, v); err != nil {
			return nil, fmt.Errorf("unet: %w", err)
		}
	}
	return d, nil
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
func (d *denoiser) denoised(x []float32, at sampler.Point) ([]float32, error) {
	step := slices.Index(d.times, at.Timestep)
	if step < 0 {
		return nil, fmt.Errorf("time %v is not one of the sampler's", at.Timestep)
	}
	cells := d.s.height * d.s.width
	one := transposed(x, 1, d.s.channels, cells)
	scale := float32(at.InputScale())
	for i := range one {
		one[i] *= scale
	}
	d.sample = d.sample[:0]
	for range d.s.passes {
		d.sample = append(d.sample, one...)
	}
	out, err := run(d.unet, step, "sample", d.sample, "prediction")
	if err != nil {
		return nil, fmt.Errorf("unet: %w", err)
	}
	out = transposed(out, d.s.passes, cells, d.s.channels)
	if d.s.passes == 2 {
		out = sampler.Guide(out[:len(x)], out[len(x):], d.s.Guidance)
	}
	denoised, err := at.Denoise(d.prediction, x, out)
	d.guess = denoised
	return denoised, err
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
