package engine

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"waggle/internal/job"
	"waggle/internal/picture"
	"waggle/internal/sampler"
	"waggle/internal/sd"
)

// tiniest stands for a zero where zero means the model's own value.
const tiniest = 1e-300

// Request is a job's request in the pipeline's terms, for one picture.
func Request(r job.Request, seed uint64) sd.Request {
	out := sd.Request{
		Prompt: r.Prompt, Negative: r.NegativePrompt, Width: r.Width, Height: r.Height,
		Steps: r.Steps, Guidance: max(r.GuidanceScale, tiniest), Seed: seed,
		Sampler: r.Sampler, Schedule: r.Schedule, Sigmas: r.Sigmas, Dialect: r.Dialect, ClipSkip: r.ClipSkip,
		GuidanceRescale: r.CFGRescale, VAE: r.VAE, Eta: r.Eta,
	}
	for _, l := range r.LoRAs {
		out.LoRAs = append(out.LoRAs, sd.LoRA{Name: l.Path, UNet: l.Strength, Text: l.Strength})
	}
	return out
}

// refuse names what a request asks for and this engine cannot do: better no
// picture than another one than was asked for.
func (e *Engine) refuse(r job.Request) error {
	for _, part := range []struct {
		name  string
		asked bool
	}{
		{string(r.Operation), r.Operation != job.Generation},
		{"controls", len(r.Controls) > 0}, {"hires", r.Hires != nil},
		{"variation", r.Variation != nil}, {"tile", r.Tile != "none"},
	} {
		if part.asked {
			return job.Errorf(job.InvalidInput, "Invalid input: %s is not supported by this worker yet", part.name)
		}
	}
	if r.Precision == "f32" && e.Precision != "f32" {
		return job.Errorf(job.InvalidInput, "Invalid input: this worker does not compute in f32: start it with --precision f32")
	}
	return nil
}

// Parameters is what a picture's metadata says of how it was made.
func Parameters(r job.Request, seed uint64, model, version string, loras ...job.LoRAResult) picture.Parameters {
	p := picture.Parameters{
		Prompt: promptWithLoRAs(r), Negative: r.NegativePrompt, Steps: r.Steps, Guidance: r.GuidanceScale,
		Sampler: r.Sampler, Schedule: r.Schedule, Seed: seed, Width: r.Width, Height: r.Height, Model: model,
	}
	samplers, schedules := Choices()
	if s, schedule, ok := job.ChooseSampler(samplers, schedules, r.Sampler); ok {
		p.Sampler = s.Label
		if schedule.Label != "" {
			p.Schedule = schedule.Label
		}
	}
	if s, ok := job.Choose(schedules, p.Schedule); ok {
		p.Schedule = s.Label
	}
	p.Extra = append(extras(r), loraHashes(loras)...)
	if version != "" {
		p.Version = "waggle " + version
	}
	return p
}

// extras are the settings that not every picture has.
func extras(r job.Request) (fields []picture.Field) {
	add := func(key, value string) { fields = append(fields, picture.Field{Key: key, Value: value}) }
	if r.ClipSkip != 0 {
		add("Clip skip", strconv.Itoa(r.ClipSkip))
	}
	if r.Eta != nil {
		add("Eta", strconv.FormatFloat(*r.Eta, 'g', -1, 64))
	}
	if r.CFGRescale != 0 {
		add("CFG rescale", strconv.FormatFloat(r.CFGRescale, 'g', -1, 64))
	}
	if r.Dialect != "a1111" {
		add("Dialect", r.Dialect)
	}
	if r.VAE != "" {
		add("VAE", r.VAE)
	}
	if len(r.Sigmas) > 0 {
		add("Sigmas", strings.Trim(fmt.Sprint(r.Sigmas), "[]"))
	}
	if r.Precision != "auto" {
		add("Precision", r.Precision)
	}
	return fields
}

// listed is a field with several values; none where there are none.
func listed(key string, values []string) []picture.Field {
	if len(values) == 0 {
		return nil
	}
	return []picture.Field{{Key: key, Value: strings.Join(values, ", ")}}
}

// Choices are the samplers and schedules the pipeline knows.
func Choices() (samplers, schedules []job.Choice) {
	for _, s := range sampler.Samplers() {
		samplers = append(samplers, job.Choice{Name: string(s.Name), Label: s.Label, Aliases: s.Aliases})
	}
	for _, s := range sampler.Schedules() {
		schedules = append(schedules, job.Choice{Name: string(s.Name), Label: s.Label, Aliases: s.Aliases})
	}
	return samplers, schedules
}

// ModelInfo is what clients are told of a model.
func ModelInfo(i sd.Info) job.ModelInfo {
	limits := job.DefaultLimits()
	limits.SizeMin, limits.SizeMax = max(limits.SizeMin, i.MinSide), min(limits.SizeMax, i.MaxSide)
	limits.SizeMultiple = max(limits.SizeMultiple, i.Multiple)
	d := i.Defaults
	return job.ModelInfo{
		Name: i.Name, Family: i.Family, Limits: limits,
		Defaults: job.Defaults{Width: d.Width, Height: d.Height, Steps: d.Steps, Guidance: d.Guidance, Sampler: d.Sampler, Schedule: cmp.Or(d.Schedule, "normal")},
		Preview:  job.LatentRGB{Factors: i.Colours.Factors, Bias: i.Colours.Bias, Downscale: i.Factor},
	}
}
