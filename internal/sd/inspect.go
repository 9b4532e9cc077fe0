package sd

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// Inspection is what can be told of a model, whether it can be run or not.
type Inspection struct {
	Name       string           `json:"name"`
	Path       string           `json:"path,omitempty"`
	Problem    string           `json:"problem,omitempty"` // why it cannot be run
	Draws      bool             `json:"draws"`             // pictures from text alone
	Facts      []Fact           `json:"facts"`
	Parts      []PartInspection `json:"parts"`
	Unexpected Names            `json:"unexpected"` // tensors of a file that belong to no part
	Ignored    int              `json:"ignored"`    // tensors of a file that no picture needs: averages, the schedule's tables
	Defaults   *Defaults        `json:"defaults,omitempty"`

	Metadata      map[string]string `json:"metadata,omitempty"` // of a single file: what is for people
	OtherMetadata int               `json:"other_metadata,omitempty"`
}

// Defaults are what a request gets that says nothing else.
type Defaults struct {
	Width    int     `json:"width"`
	Height   int     `json:"height"`
	Steps    int     `json:"steps"`
	Guidance float64 `json:"guidance_scale"`
	Sampler  string  `json:"sampler"`
	Schedule string  `json:"schedule"`
}

// PartInspection compares a network's tensors with those that its shape needs.
type PartInspection struct {
	models.PartSummary
	Missing    Names `json:"missing"`
	Misshapen  Names `json:"misshapen"`
	Unexpected Names `json:"unexpected"`
}

// Names are the first of some names, and the number of all.
type Names struct {
	Count int      `json:"count"`
	First []string `json:"first,omitempty"`
}

// namesShown bounds the lists, and nameShown their strings in bytes: both are foreign.
const (
	namesShown = 20
	nameShown  = 200
)

func (n *Names) add(name string) {
	if n.Count++; n.Count <= namesShown {
		n.First = append(n.First, shorten(name))
	}
}

func shorten(text string) string {
	if len(text) <= nameShown {
		return text
	}
	return strings.ToValidUTF8(text[:nameShown], "") + "…"
}

// Inspect looks into an open model, which may lack networks or tensors.
func Inspect(m *models.Model) Inspection {
	i := Inspection{Name: m.Name, Path: m.Path, Ignored: m.Rest.Ignored, Facts: []Fact{}, Parts: []PartInspection{}}
	for _, name := range m.Rest.Unexpected {
		i.Unexpected.add(name)
	}
	i.readMetadata(m.Metadata)
	audits := auditParts(m)
	for _, counted := range models.Count(m) {
		part := PartInspection{PartSummary: counted}
		if a := audits[counted.Name]; a != nil {
			part.compare(a)
		}
		i.Parts = append(i.Parts, part)
	}
	if err := i.tell(m); err != nil {
		i.Problem = err.Error()
	}
	return i
}

// tell gathers what is known of the model as far as it can be run.
func (i *Inspection) tell(m *models.Model) error {
	i.Facts = factsAlone(m)
	if err := m.Complete(); err != nil {
		return err
	}
	p, err := readModel(nil, m)
	if err != nil {
		return err
	}
	d := p.usual
	i.Facts, i.Defaults = p.facts, &Defaults{d.Width, d.Height, d.Steps, d.Guidance, d.Sampler, d.Schedule}
	i.Draws = p.networks.unet.config.In == p.networks.unet.config.Out
	if err := p.prepare(m); err != nil {
		return err
	}
	_, err = p.tokenize("")
	return err
}

// factsAlone are the facts that a model tells which cannot be run.
func factsAlone(m *models.Model) []Fact {
	p := &Pipeline{facts: []Fact{}}
	if m.UNet == nil {
		return p.facts
	}
	p.family = probe{m.UNet.Tensors}.family()
	p.tell("family", p.family.name, fromTensors)
	if n, err := readPart("unet", m.UNet, p.family, parseUNet, detectUNet); err == nil {
		p.tell("variant", variant(n.config), fromTensors)
	}
	return p.facts
}

// peopleKeys are the keys of metadata that people want to see, by modelspec (github.com/Stability-AI/ModelSpec).
var peopleKeys = []string{"title", "author", "license", "date", "description", "usage_hint", "trigger_phrase", "architecture", "resolution"}

func (i *Inspection) readMetadata(metadata map[string]string) {
	for _, key := range peopleKeys {
		if text := metadata["modelspec."+key]; text != "" {
			if i.Metadata == nil {
				i.Metadata = map[string]string{}
			}
			i.Metadata[key] = shorten(text)
		}
	}
	i.OtherMetadata = len(metadata) - len(i.Metadata)
}

// audit is a source that has whatever a graph asks for, and remembers what that was.
type audit struct {
	weights.Source
	wanted   map[string][]int
	optional map[string]bool // not needed to draw
}

// Declare is told the shape that a tensor must have.
func (a *audit) Declare(name string, shape ...int) { a.wanted[name] = shape }

// Tensor is the one asked for, in the shape that it must have.
func (a *audit) Tensor(name string) (weights.Tensor, bool) {
	if shape, ok := a.wanted[name]; ok {
		return weights.Tensor{Name: name, DType: weights.F16, Shape: shape}, true
	}
	return a.Source.Tensor(name)
}

// auditParts builds the graphs of all parts whose shape is known.
func auditParts(m *models.Model) map[string]*audit {
	all := map[string]*audit{}
	f := sd1
	if m.UNet != nil {
		f = probe{m.UNet.Tensors}.family()
		auditPart(all, "unet", m.UNet, f, parseUNet, detectUNet, func(a *audit, c UNetConfig) {
			_ = unetGraph(network[UNetConfig]{c, a}, 1, auditSide, auditSide, 77).Err()
		})
	}
	auditPart(all, "vae", m.VAE, f, parseVAE, detectVAE, auditVAE)
	for name, part := range map[string]*models.Part{"text_encoder": m.Text, "text_encoder_2": m.Text2} {
		auditPart(all, name, part, f, parseText, detectText, auditText)
	}
	return all
}

// auditSide of the latent; weights do not depend on it.
const auditSide = 8

func auditPart[C any](all map[string]*audit, name string, p *models.Part, f family, parse func([]byte) (C, error),
	detect func(weights.Source, family) (C, error), ask func(*audit, C)) {
	n, err := readPart(name, p, f, parse, detect)
	if err != nil {
		return
	}
	a := &audit{Source: n.tensors, wanted: map[string][]int{}, optional: map[string]bool{}}
	ask(a, n.config)
	all[name] = a
}

// auditVAE asks for the decoder, and for the encoder, without which pictures can be drawn.
func auditVAE(a *audit, c VAEConfig) {
	_ = decodeGraph(network[VAEConfig]{c, a}, auditSide, auditSide).Err()
	needed := maps.Clone(a.wanted)
	if !c.tiny() {
		_ = encodeGraph(network[VAEConfig]{c, a}, auditSide, auditSide).Err()
	} else if c.Tiny.Encoder != nil {
		_ = tinyEncodeGraph(network[TinyConfig]{c.Tiny, a}, 1, auditSide, auditSide).Err()
	}
	for name := range a.wanted {
		a.optional[name] = needed[name] == nil
	}
}

// auditText asks for all layers and, where it is there, for the projection, which many files have and few models need.
func auditText(a *audit, c TextConfig) {
	const embeddings = "text_model.embeddings."
	a.Declare(embeddings+"token_embedding.weight", c.Vocabulary, c.Hidden)
	a.Declare(embeddings+"position_embedding.weight", c.Positions, c.Hidden)
	g := nn.NewGraph(a)
	states := TextEncoder(g, c, g.Input("ids", nn.PerJob, 1, c.Positions, 1))
	if width := (probe{a.Source}).extent(0, "text_projection.weight"); width > 0 {
		states.pooled(g, TextConfig{Projection: width})
	}
}

// compare says how what is there differs from what was asked for.
func (p *PartInspection) compare(a *audit) {
	for _, name := range slices.Sorted(maps.Keys(a.wanted)) {
		t, ok := a.Source.Tensor(name)
		switch {
		case !ok && !a.optional[name]:
			p.Missing.add(name)
		case ok && !slices.Equal(trimOnes(t.Shape), trimOnes(a.wanted[name])):
			p.Misshapen.add(fmt.Sprintf("%s %v, want %v", shorten(name), t.Shape[:min(len(t.Shape), maxLevels)], a.wanted[name]))
		}
	}
	for _, name := range a.Source.Names() {
		if _, ok := a.wanted[name]; !ok {
			p.Unexpected.add(name)
		}
	}
}

// trimOnes drops trailing extents of 1: a 1×1 convolution's weight is a matrix.
func trimOnes(shape []int) []int {
	for len(shape) > 1 && shape[len(shape)-1] == 1 {
		shape = shape[:len(shape)-1]
	}
	return shape
}
