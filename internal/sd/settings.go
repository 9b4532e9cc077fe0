package sd

import (
	"fmt"
	"slices"

	"waggle/internal/noise"
	"waggle/internal/prompt"
	"waggle/internal/sampler"
)

// Info describes a model to people and programs.
type Info struct {
	Name, Family     string
	Facts            []Fact
	Defaults         Request // what zero values of a request mean
	MinSide, MaxSide int     // pixels
	Multiple         int     // width and height are multiples of it
	LatentChannels   int
	Factor           int // side in pixels of one latent cell
	Colours          Colours
}

// Bounds of a request. Greater pictures than the model was trained on are possible; these keep numbers within reason.
const (
	minSide     = 64
	maxSide     = 4096
	maxSteps    = 1000
	maxGuidance = 100
	maxClipSkip = 12
	precision   = "f32" // of activations and sums; weights are kept in f16
)

// Info describes the model.
func (p *Pipeline) Info() Info {
	vae := p.networks.vae.config
	return Info{
		Name: p.name, Family: p.family.name, Facts: p.facts, Defaults: p.usual, MinSide: minSide, MaxSide: maxSide,
		Multiple: vae.Factor(), Factor: vae.Factor(), LatentChannels: vae.Latent, Colours: p.family.colours,
	}
}

// settings are a request made complete.
type settings struct {
	Request
	channels, height, width int     // of the latent
	scale                   float64 // of classifier-free guidance, 1 for none
	passes                  int     // of the network a step: 1, or one for the negative prompt and one for each part
	parts                   []prompt.Span
	reading                 reading
	mixed                   []LoRA // that the prompt names
	loras                   *loraSet
	dialect                 noise.Dialect
	grid                    *sampler.Grid
	rule                    sampler.Name
}

// settle fills in the model's defaults and checks every number of a request.
func (p *Pipeline) settle(r Request) (settings, error) {
	r = r.or(p.usual)
	if err := p.checkRequest(r); err != nil {
		return settings{}, err
	}
	vae := p.networks.vae.config
	s := settings{Request: r, channels: vae.Latent, height: r.Height / vae.Factor(), width: r.Width / vae.Factor(), scale: 1}
	if p.networks.unet.config.Guidance == 0 { // a network that is told of guidance applies it itself
		s.scale = max(1, r.Guidance)
	}
	var err error
	if s.dialect, err = noise.ParseDialect(r.Dialect); err != nil {
		return settings{}, err
	}
	if err = s.settlePrompt(); err != nil {
		return settings{}, err
	}
	if s.loras, err = p.adopt(append(slices.Clone(r.LoRAs), s.mixed...)); err != nil {
		return settings{}, err
	}
	if _, err = p.decoder(r.VAE); err != nil {
		return settings{}, err
	}
	err = p.settleSampler(&s)
	return s, err
}

// or takes the values of d where r has none. A schedule belongs to its sampler: who names a sampler alone gets the normal one.
func (r Request) or(d Request) Request {
	if r.Sampler == "" {
		r.Sampler = d.Sampler
		if r.Schedule == "" {
			r.Schedule = d.Schedule
		}
	}
	for _, field := range []struct {
		value *int
		other int
	}{{&r.Width, d.Width}, {&r.Height, d.Height}, {&r.Steps, d.Steps}} {
		if *field.value == 0 {
			*field.value = field.other
		}
	}
	if r.Guidance == 0 {
		r.Guidance = d.Guidance
	}
	return r
}

func (p *Pipeline) checkRequest(r Request) error {
	if in := p.networks.unet.config.In; in != p.networks.unet.config.Out {
		return fmt.Errorf("model %s reads %d channels: it changes a given picture and cannot draw from text alone", p.name, in)
	}
	multiple := p.networks.vae.config.Factor()
	for _, side := range []struct {
		name  string
		value int
	}{{"width", r.Width}, {"height", r.Height}} {
		if side.value < minSide || side.value > maxSide || side.value%multiple != 0 {
			return fmt.Errorf("%s %d: want a multiple of %d from %d to %d", side.name, side.value, multiple, minSide, maxSide)
		}
	}
	if r.Steps < 1 || r.Steps > maxSteps {
		return fmt.Errorf("steps %d: want 1…%d", r.Steps, maxSteps)
	}
	if !(r.Guidance >= 0 && r.Guidance <= maxGuidance) {
		return fmt.Errorf("guidance %v: want 0…%d", r.Guidance, maxGuidance)
	}
	if !(r.GuidanceRescale >= 0 && r.GuidanceRescale <= 1) {
		return fmt.Errorf("rescaling of guidance %v: want 0…1", r.GuidanceRescale)
	}
	if r.ClipSkip < 0 || r.ClipSkip > maxClipSkip {
		return fmt.Errorf("clip skip %d: want 1…%d, or 0 for the model's own", r.ClipSkip, maxClipSkip)
	}
	if r.Precision != "" && r.Precision != precision {
		return fmt.Errorf("precision %q: networks compute in %s", r.Precision, precision)
	}
	if len(r.Sigmas) > maxSteps+1 {
		return fmt.Errorf("%d sigmas: want at most %d", len(r.Sigmas), maxSteps+1)
	}
	return nil
}

// settleSampler chooses the rule and the noise levels.
func (p *Pipeline) settleSampler(s *settings) error {
	name, own, err := sampler.ParseSampler(s.Sampler)
	if err != nil {
		return err
	}
	schedule, err := sampler.ParseSchedule(s.Schedule)
	if err != nil {
		return err
	}
	if schedule == "" {
		schedule = own
	}
	o := sampler.Options{Style: sampler.KDiffusion, Schedule: schedule, Steps: s.Steps, Sigmas: s.Sigmas, XL: p.networks.unet.config.Added > 0}
	if s.dialect.Name == string(sampler.Diffusers) {
		o.Style = sampler.Diffusers
	}
	if s.grid, err = p.model.Grid(name, o); err != nil {
		return err
	}
	s.rule = name
	if sampler.NeedsUncond(name) {
		if p.networks.unet.config.Guidance > 0 {
			return fmt.Errorf("sampler %s guides the picture in its own way (CFG++), but the network of model %s is told of guidance and applies it itself: choose another, such as lcm",
				name, p.name)
		}
		s.scale, s.passes = s.Guidance, 1+len(s.parts)
	}
	_, err = s.newSampler()
	return err
}

// newSampler is the request's sampler at the start of the grid.
func (s settings) newSampler() (*sampler.Sampler, error) {
	return sampler.New(s.rule, s.grid, sampler.Tuning{Eta: s.Eta})
}

// newBrownian is the Brownian motion of an SDE sampler, where the dialect has one and the levels are apart.
func (s settings) newBrownian() (*noise.Brownian, error) {
	low, high := s.grid.Ends()
	if !sampler.Brownian(s.rule) || s.dialect.Brownian == "" || !(low < high) {
		return nil, nil
	}
	return noise.NewBrownian(s.dialect.Brownian, s.Seed, low, high)
}
