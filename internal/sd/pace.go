package sd

import (
	"encoding/json"
	"slices"
	"strings"

	"waggle/internal/models"
)

// pace is how models are sampled that were distilled to few steps.
type pace struct {
	name     string
	words    []string // in a model's name or title; their letters may stand together or apart
	class    string   // of the scheduler in scheduler_config.json
	defaults Request
	trailing bool // time steps end at the last one of training
}

// paces: a name's first fit counts. A guidance of 1 is none.
var paces = []pace{
	{name: "turbo", words: []string{"sdxlturbo", "sdturbo"}, trailing: true, // Sauer et al. 2023
		defaults: Request{Width: 512, Height: 512, Steps: 4, Guidance: 1, Sampler: "euler_ancestral", Schedule: "sgm_uniform"}},
	{name: "turbo", words: []string{"turbo"}, trailing: true,
		defaults: Request{Steps: 4, Guidance: 1, Sampler: "euler_ancestral", Schedule: "sgm_uniform"}},
	{name: "lightning", words: []string{"lightning"}, trailing: true, // Lin et al. 2024
		defaults: Request{Steps: 4, Guidance: 1, Sampler: "euler", Schedule: "sgm_uniform"}},
	{name: "lcm", words: []string{"lcm"}, class: "LCMScheduler", // Luo et al. 2023
		defaults: Request{Steps: 4, Guidance: 1, Sampler: "lcm", Schedule: "sgm_uniform"}},
	{name: "one step", words: []string{"sdxs"}, trailing: true, // Song et al. 2024
		defaults: Request{Width: 512, Height: 512, Steps: 1, Guidance: 1, Sampler: "euler", Schedule: "sgm_uniform"}},
}

// guidedLCM is the guidance that an LCM is told of in place of a second pass (diffusers' LatentConsistencyModelPipeline).
const guidedLCM = 8.5

// pace of the model, and where it shows. Most have none.
func (p *Pipeline) pace(m *models.Model) pace {
	find := func(fits func(pace) bool) (pace, bool) {
		at := slices.IndexFunc(paces, fits)
		if at < 0 {
			return pace{}, false
		}
		return paces[at], true
	}
	if p.networks.unet.config.Guidance > 0 {
		found, _ := find(func(x pace) bool { return x.name == "lcm" })
		found.defaults.Guidance = guidedLCM
		p.tell("distilled", "lcm, told of guidance", fromTensors)
		return found
	}
	class := schedulerClass(m.Scheduler)
	for _, look := range []struct {
		source string
		fits   func(pace) bool
	}{
		{fromScheduler, func(x pace) bool { return class != "" && x.class == class }},
		{fromMetadata, func(x pace) bool { return x.in(m.Metadata["modelspec.title"], m.Metadata["modelspec.architecture"]) }},
		{fromName, func(x pace) bool { return x.in(m.Name) }},
	} {
		if found, ok := find(look.fits); ok {
			p.tell("distilled", found.name, look.source)
			return found
		}
	}
	return pace{}
}

// in reports whether one of the names has one of the pace's words.
func (x pace) in(names ...string) bool {
	for _, name := range names {
		if len(name) > maxName {
			continue
		}
		parts := words(name)
		for from := range parts {
			for to := from + 1; to <= min(len(parts), from+3); to++ {
				if slices.Contains(x.words, strings.Join(parts[from:to], "")) {
					return true
				}
			}
		}
	}
	return false
}

// maxName bounds the names that are looked at, in bytes.
const maxName = 300

// schedulerClass is _class_name of a scheduler_config.json, "" where there is none.
func schedulerClass(config []byte) string {
	var c struct {
		Class string `json:"_class_name"`
	}
	if json.Unmarshal(config, &c) != nil {
		return ""
	}
	return c.Class
}
