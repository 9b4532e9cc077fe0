package job

import (
	"slices"
	"strings"
	"time"
)

// Status is the state of a node, in the protocol's five words.
type Status string

// The states of a node. A busy node still takes jobs: it queues them.
const (
	Starting Status = "starting"
	Ready    Status = "ready"
	Busy     Status = "busy"
	Stopping Status = "stopping"
	Stopped  Status = "stopped"
)

// Statuses lists all of them.
func Statuses() []Status { return []Status{Starting, Ready, Busy, Stopping, Stopped} }

// Available reports whether a node in this state takes jobs.
func (s Status) Available() bool { return s == Ready || s == Busy }

// Node is the record of one process that runs jobs. The first members are the
// worker object of the protocol.
type Node struct {
	ID             string `json:"id"`             // its name
	ModelID        string `json:"model_id"`       // as the operator wrote it
	Device         string `json:"device"`         // adapters by name, with commas
	Port           int    `json:"port"`           // where it listens
	Status         Status `json:"status"`         // whether it takes jobs: ready and busy ones do
	Implementation string `json:"implementation"` // the program
	Version        string `json:"version"`        // of the program

	// TLSName is what the certificate of a node that serves https is for; empty:
	// it speaks plain HTTP.
	TLSName string    `json:"tls_name,omitempty"`
	Since   time.Time `json:"since,omitzero"` // when its process started, by its own clock
	Seen    time.Time `json:"seen,omitzero"`  // when it was heard of last, by the clock of the server that tells of it
	Load    Load      `json:"load"`           // what it has to do

	// Reason says why a node, or one of its devices, is not ready; empty means
	// its model is loading.
	Reason    string      `json:"reason,omitempty"`
	Devices   []Device    `json:"devices,omitempty"`   // its adapters
	Models    []ModelInfo `json:"models,omitempty"`    // that it has
	Samplers  []Choice    `json:"samplers,omitempty"`  // that it knows
	Schedules []Choice    `json:"schedules,omitempty"` // that it knows
}

// Load is what a node has to do, in jobs.
type Load struct {
	Running int `json:"running"` // begun there
	// Waiting are those in line that it could take, as others could that have
	// the same model. It is counted when it is asked for.
	Waiting int `json:"waiting"`
}

// Device is one adapter of a node. Each draws on its own.
type Device struct {
	Name   string `json:"name"`             // as its driver calls it
	Status Status `json:"status"`           // whether it draws
	Reason string `json:"reason,omitempty"` // why it does not
}

// Choice is a sampler or a schedule: its name in requests, its label for
// people, and other spellings it goes by. Case, spaces, hyphens and brackets
// in a name do not matter, and "++" is "pp".
type Choice struct {
	Name    string   `json:"name"`              // for operations
	Label   string   `json:"label,omitempty"`   // for people
	Aliases []string `json:"aliases,omitempty"` // other names that operations may use
}

// Choose returns the choice that goes by a name.
func Choose(list []Choice, name string) (Choice, bool) {
	key := fold(name)
	for _, c := range list {
		if fold(c.Name) == key || fold(c.Label) == key || slices.ContainsFunc(c.Aliases, func(a string) bool { return fold(a) == key }) {
			return c, true
		}
	}
	return Choice{}, false
}

// ChooseSampler is Choose for samplers, where a schedule may follow the name
// as some programs write it ("DPM++ 2M Karras"); it is empty otherwise.
func ChooseSampler(samplers, schedules []Choice, name string) (sampler, schedule Choice, ok bool) {
	if sampler, ok = Choose(samplers, name); ok {
		return sampler, Choice{}, true
	}
	key := fold(name)
	for _, schedule := range schedules {
		for _, suffix := range append([]string{schedule.Name, schedule.Label}, schedule.Aliases...) {
			stem, found := strings.CutSuffix(key, "_"+fold(suffix))
			if sampler, ok := Choose(samplers, stem); found && ok {
				return sampler, schedule, true
			}
		}
	}
	return Choice{}, Choice{}, false
}

// fold makes spellings of a name equal.
func fold(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return strings.ContainsRune(" \t_-()", r) })
	return strings.ReplaceAll(strings.Join(words, "_"), "++", "pp")
}

// Model returns the model of that name, the first of the node if there is none:
// a worker does not compare a request's model with what it has loaded.
func (n Node) Model(name string) (ModelInfo, bool) {
	for _, m := range n.Models {
		if m.Name == name {
			return m, true
		}
	}
	if len(n.Models) == 0 {
		return ModelInfo{}, false
	}
	return n.Models[0], true
}

// Offers are the models of a node; no more than a name where it only tells
// that.
func (n Node) Offers() []ModelInfo {
	if len(n.Models) == 0 && n.ModelID != "" {
		return []ModelInfo{{Name: n.ModelID}}
	}
	return n.Models
}

// ModelInfo is what a client needs to know of a model.
type ModelInfo struct {
	Name     string   `json:"name"`              // for operations
	Family   string   `json:"family,omitempty"`  // the kind of network
	Defaults Defaults `json:"defaults,omitzero"` // what it does well with
	Limits   Limits   `json:"limits,omitzero"`   // what it can do
	// Preview maps this model's latents to colours.
	Preview LatentRGB `json:"preview,omitzero"`
	Loaded  bool      `json:"loaded"` // whether it is in an adapter's memory, so that a job begins at once
	// Example is a prompt the model does well.
	Example string `json:"example,omitempty"`
}

// Defaults are a model's own, for clients that let the model choose; the wire's
// defaults are NewRequest's.
type Defaults struct {
	Width    int     `json:"width"`          // in pixels
	Height   int     `json:"height"`         // in pixels
	Steps    int     `json:"steps"`          // from noise to picture
	Guidance float64 `json:"guidance_scale"` // how closely to keep to the prompt
	Sampler  string  `json:"sampler"`        // its name
	Schedule string  `json:"schedule"`       // its name
}

// Limits are the bounds of a request for one model, in pixels and counts.
type Limits struct {
	SizeMin      int `json:"size_min"`      // least width and height
	SizeMax      int `json:"size_max"`      // greatest width and height
	SizeMultiple int `json:"size_multiple"` // of which both must be multiples
	StepsMax     int `json:"steps_max"`     // most steps of a picture
	BatchMax     int `json:"batch_max"`     // most pictures of a job
}

// DefaultLimits are those every request is checked against.
func DefaultLimits() Limits {
	return Limits{SizeMin: SizeMin, SizeMax: SizeMax, SizeMultiple: SizeMultiple, StepsMax: StepsLimit, BatchMax: BatchLimit}
}

// LatentRGB is a linear map from a latent to a small picture:
// colour = Bias + Σ over channels of value·Factors[channel], 0 black and 1 full.
// The picture itself is Downscale times as wide and high as the latent.
type LatentRGB struct {
	Factors   [][3]float32 `json:"factors"`   // one row a latent channel
	Bias      [3]float32   `json:"bias"`      // colour of a latent that is 0
	Downscale int          `json:"downscale"` // how many times as wide and high the picture is
}

// Color returns the colour of the latent at row y and column x, unclamped.
func (m LatentRGB) Color(l Latent, y, x int) (rgb [3]float32) {
	rgb = m.Bias
	for c := range min(l.Channels, len(m.Factors)) {
		v := l.At(c, y, x)
		for i := range rgb {
			rgb[i] += v * m.Factors[c][i]
		}
	}
	return rgb
}
