package sampler

import (
	"fmt"
	"math"
	"slices"
)

// Point is a noise level: x = Signal·x0 + Noise·n.
type Point struct {
	Signal   float64
	Noise    float64
	Timestep float64 // what the network is told; between training steps where the level is
}

// Sigma is the level as a ratio; infinite for pure noise.
func (p Point) Sigma() float64 { return p.Noise / p.Signal }

// InputScale is what a latent is multiplied with before the network sees it: the network was trained on variance 1.
func (p Point) InputScale() float64 { return 1 / math.Hypot(p.Signal, p.Noise) }

// logRatio is ln(signal/noise): half the logarithm of the signal-to-noise ratio, lambda in the DPM-Solver papers.
func (p Point) logRatio() float64 { return math.Log(p.Signal / p.Noise) }

// exploding is a point at sigma whose signal is not scaled: the space of k-diffusion.
func exploding(sigma, timestep float64) Point { return Point{1, sigma, timestep} }

// preserving is the same level scaled to variance 1: the space of DDPM, DDIM and most of diffusers.
func preserving(sigma, timestep float64) Point {
	size := math.Hypot(1, sigma)
	return Point{1 / size, sigma / size, timestep}
}

// Grid is the levels that a run visits, from noise to picture.
type Grid struct {
	Points []Point // one more than there are steps
	// InitScale multiplies unit noise to make the first latent.
	InitScale float64
	model     *Model
	space     space
	style     Style
	solver    solver        // of UniPC
	restarts  map[int]Point // where a step begins elsewhere than the one before ended, see restartGrid and landEvenly
}

// space is how a level is scaled: exploding or preserving.
type space func(sigma, timestep float64) Point

// at is a level between two points, for rules that look there.
func (g *Grid) at(sigma float64) Point { return g.space(sigma, g.model.Timestep(sigma)) }

// atStep is the level of a whole training step.
func (g *Grid) atStep(t float64) Point {
	sigma := g.model.sigmas[int(min(max(t, 0), float64(len(g.model.sigmas)-1)))]
	return g.space(sigma, t)
}

// from is where a step begins.
func (g *Grid) from(i int) Point {
	if p, ok := g.restarts[i]; ok {
		return p
	}
	return g.Points[i]
}

// Ends are the least sigma above 0 and the greatest.
func (g *Grid) Ends() (low, high float64) {
	low, high = math.Inf(1), g.Points[0].Sigma()
	for _, p := range g.Points {
		if sigma := p.Sigma(); sigma > 0 {
			low = min(low, sigma)
		}
	}
	return low, high
}

// Steps is the number of steps; some schedules give another number than was asked for.
func (g *Grid) Steps() int { return len(g.Points) - 1 }

// Tail returns the grid that begins at a later point, for runs that begin with a picture (see Start).
func (g *Grid) Tail(from int) (*Grid, error) {
	if from < 0 || from >= g.Steps() {
		return nil, fmt.Errorf("start at step %d of %d: want 0…%d", from, g.Steps(), g.Steps()-1)
	}
	tail := *g
	tail.Points = slices.Clone(g.Points[from:])
	tail.Points[0] = g.from(from)
	tail.restarts = map[int]Point{}
	for i, p := range g.restarts {
		if i > from {
			tail.restarts[i-from] = p
		}
	}
	return &tail, nil
}

// Init makes the first latent of unit noise.
func (g *Grid) Init(noise []float32) []float32 {
	x := make([]float32, len(noise))
	for i, n := range noise {
		x[i] = float32(g.InitScale * float64(n))
	}
	return x
}

// Start makes the first latent of a clean latent and unit noise of equal length.
func (g *Grid) Start(clean, noise []float32) []float32 {
	p := g.Points[0]
	x := make([]float32, len(clean))
	for i := range x {
		x[i] = float32(p.Signal*float64(clean[i]) + p.Noise*float64(noise[i]))
	}
	return x
}

// Style is the program whose grids are made.
type Style string

const (
	// KDiffusion: levels from a schedule's sigmas, time steps as they fall, the first latent is noise·sigma. A1111, ComfyUI.
	KDiffusion Style = "k-diffusion"
	// Diffusers: time steps by the spacing and offset of the model's configuration.
	Diffusers Style = "diffusers"
)

// Options choose a grid.
type Options struct {
	Style    Style    // default KDiffusion
	Schedule Schedule // default Normal
	Steps    int
	Sigmas   []float64 // custom levels instead of Schedule and Steps, see CheckSigmas
	XL       bool      // the model is an SDXL
}

// Grid makes the levels of a run. In style Diffusers the schedules Normal and Karras follow the configuration's spacing; for
// samplers that are defined on training steps (DDIM and its kin) the schedule Normal does so in both styles, because no program
// has them otherwise.
func (m *Model) Grid(name Name, o Options) (*Grid, error) {
	kind, err := kindOf(name)
	if err != nil {
		return nil, err
	}
	if o.Schedule == "" {
		o.Schedule = Normal
	}
	grid, err := m.gridOf(kind, o)
	if err != nil {
		return nil, err
	}
	grid.style, grid.solver = o.Style, solver{order: 3, bh2: kind.bh2}
	if o.Style == Diffusers {
		grid.solver = m.config.solver(kind)
	}
	return grid, nil
}

func (m *Model) gridOf(kind kind, o Options) (*Grid, error) {
	if o.Sigmas != nil {
		if err := CheckSigmas(o.Sigmas); err != nil {
			return nil, err
		}
		return m.shaped(kind, o.Sigmas), nil
	}
	if most := m.mostSteps(kind, o); o.Steps < 1 || o.Steps > most {
		return nil, fmt.Errorf("steps %d: want 1…%d", o.Steps, most)
	}
	if spaced(kind, o) {
		return m.spacedGrid(kind, o), nil
	}
	sigmas, err := m.programSigmas(kind, o)
	if err != nil {
		return nil, err
	}
	return m.shaped(kind, sigmas), nil
}

// programSigmas are a schedule's sigmas as A1111 and ComfyUI give them to a sampler: those of DPM2 and UniPC are made for one
// step more, and the last but one is left out.
func (m *Model) programSigmas(kind kind, o Options) ([]float64, error) {
	if !kind.skipsLast || o.Steps >= m.mostSteps(kind, o) {
		return m.Sigmas(o.Schedule, o.Steps, o.XL)
	}
	sigmas, err := m.Sigmas(o.Schedule, o.Steps+1, o.XL)
	if err != nil {
		return nil, err
	}
	last := len(sigmas) - 1
	return append(sigmas[:last-1:last-1], sigmas[last]), nil
}

// shaped makes the grid of a sampler that chooses its own levels between those of a schedule, or just takes them.
func (m *Model) shaped(kind kind, sigmas []float64) *Grid {
	if kind.shape != nil {
		return kind.shape(m, kind, sigmas)
	}
	return m.sigmaGrid(kind, sigmas)
}

// mostSteps keeps the levels of a run apart from each other.
func (m *Model) mostSteps(kind kind, o Options) int {
	switch {
	case kind.original && spaced(kind, o): // see originalSteps
		return min(maxSteps, m.config.OriginalSteps, len(m.alphas))
	case kind.multistep: // one is left out, see timesteps
		return min(maxSteps, len(m.alphas)-1)
	}
	return min(maxSteps, len(m.alphas))
}

// spaced reports whether the configuration's spacing chooses the levels, rather than a table of sigmas.
func spaced(kind kind, o Options) bool {
	switch {
	case kind.shape != nil:
		return false
	case o.Style == Diffusers && o.Schedule == Karras:
		return kind.multistep || !kind.timesteps && !kind.original
	case o.Style == Diffusers:
		return o.Schedule == Normal
	}
	return kind.timesteps && o.Schedule == Normal
}

// sigmaGrid makes a grid of given levels in the manner of k-diffusion.
func (m *Model) sigmaGrid(kind kind, sigmas []float64) *Grid {
	grid := &Grid{InitScale: sigmas[0], model: m, space: exploding}
	if kind.timesteps {
		grid.InitScale, grid.space = 1, preserving
	}
	for _, sigma := range sigmas {
		grid.Points = append(grid.Points, grid.at(sigma))
	}
	return grid
}
