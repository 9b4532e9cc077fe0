package sampler

import (
	"math"
	"slices"
)

// spacing returns the configured spacing or the default of the sampler's class in diffusers.
func (m *Model) spacing(kind kind) Spacing {
	switch {
	case m.config.Spacing != "":
		return m.config.Spacing
	case kind.timesteps && !kind.multistep:
		return Leading
	}
	return Linspace
}

// timesteps chooses n of the training steps, falling, as diffusers does. Multistep solvers there divide the range by n + 1
// and leave out the last one, except for trailing spacing; they and DDIM round to whole steps.
func (m *Model) timesteps(kind kind, n int) []float64 {
	total, intervals := len(m.alphas), n
	if kind.multistep {
		intervals = n + 1
	}
	var steps []float64
	switch m.spacing(kind) {
	case Trailing:
		for i := range n {
			steps = append(steps, math.RoundToEven(float64(total)-float64(i)*float64(total)/float64(n))-1)
		}
	case Leading:
		for i := range intervals {
			steps = append(steps, float64(i*(total/intervals)+m.config.StepsOffset))
		}
		slices.Reverse(steps)
	default:
		steps = linspace(0, float64(total-1), intervals) // one step is the one at 0, there too
		slices.Reverse(steps)
		if kind.multistep || kind.timesteps {
			each(steps, math.RoundToEven)
		}
	}
	return each(steps[:n], func(t float64) float64 { return min(max(t, 0), float64(total-1)) })
}

// spacedGrid makes a grid in the manner of diffusers: three classes of schedulers differ in scale, rounding and end.
func (m *Model) spacedGrid(kind kind, o Options) *Grid {
	steps := m.timesteps(kind, o.Steps)
	switch {
	case kind.original:
		return m.alphaGrid(kind, m.originalSteps(o.Steps))
	case kind.continuous && o.Style != Diffusers:
		return m.continuousGrid(o.Steps)
	case kind.timesteps && !kind.multistep:
		grid := m.alphaGrid(kind, steps)
		if o.Style == Diffusers {
			m.landEvenly(grid)
		}
		return grid
	case kind.multistep:
		return m.multistepGrid(kind, steps, o.Schedule)
	}
	return m.eulerGrid(kind, steps, o.Schedule)
}

// originalSteps chooses n of the time steps that consistency models were distilled on (LCMScheduler in diffusers), falling.
func (m *Model) originalSteps(n int) []float64 {
	original := min(m.config.OriginalSteps, len(m.alphas))
	stride := len(m.alphas) / original
	steps := make([]float64, n)
	for i := range steps {
		steps[i] = float64((original-i*original/n)*stride - 1)
	}
	return steps
}

// continuousGrid is that of UniPC's own code, which A1111 has: even in time, ln signal is linear between training steps. It
// ends at the first of them, with its noise left.
func (m *Model) continuousGrid(n int) *Grid {
	logs := make([]float64, len(m.alphas))
	for i, alpha := range m.alphas {
		logs[i] = math.Log(max(alpha, leastAlpha)) / 2
	}
	grid := &Grid{InitScale: 1, model: m, space: preserving}
	for _, t := range linspace(float64(len(logs)-1), 0, n+1) {
		signal := math.Exp(interpolate(logs, t))
		grid.Points = append(grid.Points, Point{signal, math.Sqrt(1 - signal*signal), t})
	}
	return grid
}

// alphaGrid is DDIM's and DDPM's: levels straight from the table of alphas. The last step goes to no noise, or to the
// noise of the first training step where the configuration does not set alpha to one.
func (m *Model) alphaGrid(kind kind, steps []float64) *Grid {
	grid := &Grid{InitScale: 1, model: m, space: preserving}
	at := func(alpha, t float64) {
		grid.Points = append(grid.Points, Point{math.Sqrt(alpha), math.Sqrt(1 - alpha), t})
	}
	for _, t := range steps {
		at(m.alphas[int(t)], t)
	}
	if !kind.toFirst && (m.config.SetAlphaToOne || kind.toZero) {
		at(1, 0)
	} else {
		at(m.alphas[0], 0)
	}
	return grid
}

// landEvenly is what DDIMScheduler and DDPMScheduler do where the steps do not divide training evenly: each ends total/n
// training steps lower, rounded down, though the next may begin elsewhere.
func (m *Model) landEvenly(grid *Grid) {
	stride := float64(len(m.alphas) / grid.Steps())
	grid.restarts = map[int]Point{}
	for i := range grid.Steps() {
		end, next := grid.from(i).Timestep-stride, grid.Points[i+1]
		last := i+1 == grid.Steps()
		if end < 0 || end == next.Timestep && !last {
			continue
		}
		alpha := m.alphas[int(end)]
		grid.Points[i+1] = Point{math.Sqrt(alpha), math.Sqrt(1 - alpha), next.Timestep}
		if !last {
			grid.restarts[i+1] = next
		}
	}
}

// multistepGrid is DPMSolverMultistepScheduler's: variance 1. Karras levels span all of training and are told to the network
// as whole time steps.
func (m *Model) multistepGrid(kind kind, steps []float64, schedule Schedule) *Grid {
	grid := &Grid{InitScale: 1, model: m, space: preserving}
	if schedule == Karras {
		for _, sigma := range KarrasSigmas(len(steps), m.SigmaMin(), m.SigmaMax(), 7) {
			grid.Points = append(grid.Points, preserving(sigma, math.RoundToEven(m.Timestep(sigma))))
		}
	} else {
		for _, t := range steps {
			grid.Points = append(grid.Points, preserving(interpolate(m.sigmas, t), t))
		}
	}
	last := 0.0
	if (kind.toFirst || m.config.FinalSigma == SigmaMin) && schedule != Karras { // Karras levels end there already
		last = m.SigmaMin()
	}
	grid.Points = append(grid.Points, preserving(last, 0))
	return grid
}

// eulerGrid is that of EulerDiscreteScheduler and its kin: sigma is linear between training steps. With leading spacing the
// first latent has the variance of the noisy picture, not of the noise.
func (m *Model) eulerGrid(kind kind, steps []float64, schedule Schedule) *Grid {
	sigmas := make([]float64, len(steps))
	for i, t := range steps {
		sigmas[i] = interpolate(m.sigmas, t)
	}
	if schedule == Karras {
		sigmas = KarrasSigmas(len(steps), sigmas[len(sigmas)-1], sigmas[0], 7)
		for i, sigma := range sigmas {
			steps[i] = m.Timestep(sigma)
		}
	}
	grid := &Grid{InitScale: sigmas[0], model: m, space: exploding}
	if m.spacing(kind) == Leading {
		grid.InitScale = math.Hypot(1, sigmas[0])
	}
	for i, sigma := range sigmas {
		grid.Points = append(grid.Points, exploding(sigma, steps[i]))
	}
	grid.Points = append(grid.Points, exploding(0, 0))
	return grid
}
