package sd

import (
	"fmt"
	"slices"

	"waggle/internal/sampler"
)

// answer runs the network once for the questions of several drawings of one shape.
func (p *Pipeline) answer(asking []*stepping) error {
	unet, err := p.seated(asking)
	if err != nil {
		return err
	}
	inputs, c := map[string][]float32{}, p.networks.unet.config
	for _, s := range asking {
		inputs["sample"] = append(inputs["sample"], slices.Repeat(s.sample(), s.passes)...)
		inputs["time"] = append(inputs["time"], slices.Repeat(c.time(s.at.Timestep), s.passes)...)
	}
	out, err := run(unet, inputs, "prediction")
	if err != nil {
		return err
	}
	each := len(out) / len(asking)
	for i, s := range asking {
		if err := s.hear(out[i*each:][:each]); err != nil {
			return err
		}
	}
	return nil
}

// seated is the UNet's program for so many drawings, with the prompts of these.
func (p *Pipeline) seated(asking []*stepping) (*compiled, error) {
	var seats []seat
	for _, s := range asking {
		seats = append(seats, seat{s.Drawing, s.turns})
	}
	set, err := p.live(asking[0].loras)
	if err != nil {
		return nil, err
	}
	unet, err := p.unet(asking[0].Shape(), set, len(seats))
	if err != nil || slices.Equal(unet.seats, seats) {
		return unet, err
	}
	inputs := map[string][]float32{}
	for _, d := range seats {
		for name, v := range p.networks.unet.config.conditions(d.prompts, d.Height, d.Width, d.Guidance) {
			inputs[name] = append(inputs[name], v...)
		}
	}
	unet.seats = nil
	if err := give(unet, inputs); err != nil {
		return nil, err
	}
	unet.seats = seats
	return unet, nil
}

// seat is a drawing with the prompts that it has had since its latest turn.
type seat struct {
	*Drawing
	turn int
}

// unet is the network's program for a batch of drawings of a shape.
func (p *Pipeline) unet(s Shape, set *loraSet, batch int) (*compiled, error) {
	return p.batchProgram(fmt.Sprint("unet ", s, batch), p.unetPart(s, set, batch))
}

// conditions are what the network is told of a picture for all steps, one row for each prompt: text states, added vector,
// guidance.
func (c UNetConfig) conditions(prompts []conditioning, height, width int, guidance float64) map[string][]float32 {
	in := map[string][]float32{}
	for _, prompt := range prompts {
		in["context"] = append(in["context"], prompt.context...)
		if c.Added > 0 {
			// The picture is as large as asked for and not cut out of a larger one.
			sizes := []float32{float32(height), float32(width), 0, 0, float32(height), float32(width)}
			in["added"] = append(in["added"], added(c, prompt.pooled, sizes)...)
		}
		if c.Guidance > 0 {
			in["guidance"] = append(in["guidance"], c.guidance(guidance)...)
		}
	}
	return in
}

// time is a timestep as the network reads it.
func (c UNetConfig) time(t float64) []float32 {
	return sinusoids(t, c.Widths[0], c.TimeFlip, c.TimeShift)
}

// guidance is a scale as an LCM reads it: 1, no guidance, is 0, and there are 1000 steps from one number to the next. Luo et
// al. 2023, after diffusers' get_guidance_scale_embedding.
func (c UNetConfig) guidance(scale float64) []float32 {
	return sinusoids(1000*(scale-1), c.Guidance, false, 1)
}

// sample is the question's latent as the network reads it: [H,W,C], scaled.
func (s *stepping) sample() []float32 {
	sample := transposed(s.x, 1, s.channels, s.height*s.width)
	scale := float32(s.at.InputScale())
	for i := range sample {
		sample[i] *= scale
	}
	return sample
}

// hear makes the answer of what the network predicted: [passes,H,W,C].
func (s *stepping) hear(prediction []float32) (err error) {
	out := transposed(prediction, s.passes, s.height*s.width, s.channels)
	meaning := s.pipeline.model.Config().Prediction
	if s.passes > 1 {
		negative := out[:len(s.x)]
		if sampler.NeedsUncond(s.rule) {
			if s.answer.Uncond, err = s.at.Denoise(meaning, s.x, negative); err != nil {
				return err
			}
		}
		prompted := s.compose(negative, out[len(s.x):])
		out = sampler.Guide(negative, prompted, s.scale)
		if s.GuidanceRescale > 0 {
			out = sampler.Rescale(out, prompted, s.GuidanceRescale)
		}
	}
	s.answer.Clean, err = s.at.Denoise(meaning, s.x, out)
	s.guess = s.answer.Clean
	return err
}

// run gives a program its inputs, runs it and reads one output.
func run(p program, inputs map[string][]float32, output string) ([]float32, error) {
	if err := give(p, inputs); err != nil {
		return nil, err
	}
	if err := p.Run(); err != nil {
		return nil, err
	}
	return p.Output(output)
}

// give sets inputs of a program.
func give(p program, inputs map[string][]float32) error {
	for name, v := range inputs {
		if err := p.SetInput(name, v); err != nil {
			return err
		}
	}
	return nil
}
