// Package noise turns a seed into Gaussian noise, the same on every machine and for every GPU vendor.
//
// Two generators give the numbers that other programs give for the same seed: TorchCPU is PyTorch's generator for the CPU
// (MT19937), Philox the one for CUDA. A Dialect says which program uses which of them for what.
//
// All arithmetic is done here, on the CPU. Where a processor fuses multiplication and addition, the last bit of about one
// value in 10⁸ can differ.
package noise

import (
	"fmt"
	"math"
	"slices"
)

// Kind names a generator.
type Kind string

const (
	TorchCPU Kind = "torch-cpu" // MT19937 with PyTorch's transformations
	Philox   Kind = "philox"    // Philox4x32-10 as PyTorch uses it on CUDA, Salmon et al. 2011
)

// Generator gives a sequence of noise. The numbers depend on how the sequence is cut into calls, as in PyTorch. It is not
// safe for concurrent use.
type Generator struct {
	kind   Kind
	seed   uint64
	source source
}

// source is what the two kinds have in common: one call fills dst with values of the given precision.
type source interface {
	fill(dst []float64, p precision)
	position() Position
	restore(Position) error
}

// New returns a generator at the start of its sequence. TorchCPU uses the low 32 bits of the seed, Philox all 64.
func New(kind Kind, seed uint64) (*Generator, error) {
	g := &Generator{kind: kind, seed: seed}
	switch kind {
	case TorchCPU:
		g.source = newTorch(seed)
	case Philox:
		g.source = &philox{seed: seed}
	default:
		return nil, fmt.Errorf("noise generator %q: want one of %v", kind, []Kind{TorchCPU, Philox})
	}
	return g, nil
}

// Gaussian returns n values of mean 0 and deviation 1: what torch.randn gives for float32.
func (g *Generator) Gaussian(n int) []float32 { return g.rounded(n, single) }

// Gaussian16 returns what torch.randn gives for float16, widened.
func (g *Generator) Gaussian16(n int) []float32 { return g.rounded(n, half) }

// Gaussian64 returns what torch.randn gives for float64.
func (g *Generator) Gaussian64(n int) []float64 {
	values := make([]float64, n)
	g.source.fill(values, double)
	return values
}

func (g *Generator) rounded(n int, p precision) []float32 {
	wide := make([]float64, n)
	g.source.fill(wide, p)
	values := make([]float32, n)
	for i, v := range wide {
		values[i] = float32(v)
	}
	return values
}

// Position is a place in a generator's sequence, small enough to be kept in a checkpoint.
type Position struct {
	Count uint64 `json:"count"` // TorchCPU: 32-bit numbers drawn; Philox: calls made
	// Spare is the second value of a pair of which one was used (TorchCPU).
	Spare *float64 `json:"spare,omitempty"`
}

// State describes a generator completely.
type State struct {
	Kind     Kind     `json:"kind"`
	Seed     uint64   `json:"seed,string"` // a string: JavaScript's numbers have 53 bits
	Position Position `json:"position"`
}

// State returns what Restore needs to go on from here.
func (g *Generator) State() State {
	return State{Kind: g.kind, Seed: g.seed, Position: g.source.position()}
}

// Restore returns a generator that goes on where State was taken. For TorchCPU the numbers before are drawn again and
// dropped: milliseconds for a whole job.
func Restore(state State) (*Generator, error) {
	g, err := New(state.Kind, state.Seed)
	if err != nil {
		return nil, err
	}
	if err := g.source.restore(state.Position); err != nil {
		return nil, fmt.Errorf("noise generator %s: %w", state.Kind, err)
	}
	return g, nil
}

// precision is a type of numbers that PyTorch draws.
type precision struct {
	bits    uint                  // of a uniform number before the transformation
	wide    bool                  // a uniform number takes two 32-bit draws
	byBlock bool                  // no uniform numbers are drawn for an incomplete last block
	round   func(float64) float64 // to the type of the computation
	result  func(float64) float64 // to the type of the result
}

var (
	half   = precision{bits: 24, byBlock: true, round: roundSingle, result: roundHalf} // computed as float32
	single = precision{bits: 24, round: roundSingle, result: roundSingle}
	double = precision{bits: 53, wide: true, round: unrounded, result: unrounded}
)

func unrounded(v float64) float64   { return v }
func roundSingle(v float64) float64 { return float64(float32(v)) }

// roundHalf rounds to binary16: 11 significant bits, halves to even; the values here never leave its range.
func roundHalf(v float64) float64 {
	_, exponent := math.Frexp(v)
	scale := 11 - max(exponent, -13) // below 2⁻¹⁴ the spacing stays 2⁻²⁴
	return math.Ldexp(math.RoundToEven(math.Ldexp(v, scale)), -scale)
}

// Dialect says how a program makes the noise of one picture. All are independent of the GPU.
type Dialect struct {
	Name    string
	Initial Kind // of the first latent
	Steps   Kind // of ancestral steps
	// Brownian is the generator of the Brownian motion that SDE samplers take their noise from, if the program has one.
	Brownian Kind
	// Joined: steps go on with the generator of the first latent; otherwise they have their own, with the same seed.
	Joined bool
	// Truncates: levels of colour are cut off to whole ones, not rounded.
	Truncates bool
}

// dialects are in the order in which they are shown; the first is the default.
var dialects = []Dialect{
	{Name: "a1111", Initial: Philox, Steps: Philox, Brownian: Philox, Joined: true, Truncates: true},
	{Name: "a1111-cpu", Initial: TorchCPU, Steps: TorchCPU, Brownian: TorchCPU, Joined: true, Truncates: true},
	// ComfyUI draws the latent on the CPU, and Brownian motions too (but for samplers whose name ends in _gpu); its other samplers
	// make a generator on the model's device, CUDA here.
	{Name: "comfy", Initial: TorchCPU, Steps: Philox, Brownian: TorchCPU, Truncates: true},
	{Name: "diffusers", Initial: TorchCPU, Steps: TorchCPU, Joined: true},
}

// Dialects returns all dialects, the default first.
func Dialects() []Dialect { return slices.Clone(dialects) }

// ParseDialect finds a dialect by name; the empty name is the default.
func ParseDialect(name string) (Dialect, error) {
	if name == "" {
		return dialects[0], nil
	}
	names := make([]string, len(dialects))
	for i, d := range dialects {
		if d.Name == name {
			return d, nil
		}
		names[i] = d.Name
	}
	return Dialect{}, fmt.Errorf("dialect %q is not known; want one of %q", name, names)
}

// Picture gives the noise of one picture. Each picture of a batch has its own, with its own seed (seed + i), so that it does
// not depend on the batch.
type Picture struct {
	initial, steps *Generator // the same one where the dialect is Joined
}

// Picture starts the noise of a picture.
func (d Dialect) Picture(seed uint64) (*Picture, error) {
	initial, err := New(d.Initial, seed)
	if err != nil {
		return nil, err
	}
	if d.Joined {
		return &Picture{initial, initial}, nil
	}
	steps, err := New(d.Steps, seed)
	return &Picture{initial, steps}, err
}

// Initial returns the unit noise of the first latent [1,4,h,w], n = 4·h·w. Call it once, before Step.
func (p *Picture) Initial(n int) []float32 { return p.initial.Gaussian(n) }

// Step returns the noise that a sampler adds in a step.
func (p *Picture) Step(n int) []float32 { return p.steps.Gaussian(n) }

// PictureState describes a Picture completely. Steps is nil where one generator serves both.
type PictureState struct {
	Initial State  `json:"initial"`
	Steps   *State `json:"steps,omitempty"`
}

// State returns what RestorePicture needs to go on from here.
func (p *Picture) State() PictureState {
	state := PictureState{Initial: p.initial.State()}
	if p.steps != p.initial {
		steps := p.steps.State()
		state.Steps = &steps
	}
	return state
}

// RestorePicture returns the noise of a picture that goes on where State was taken.
func RestorePicture(state PictureState) (*Picture, error) {
	initial, err := Restore(state.Initial)
	if err != nil || state.Steps == nil {
		return &Picture{initial, initial}, err
	}
	steps, err := Restore(*state.Steps)
	return &Picture{initial, steps}, err
}
