// Package sampler is the arithmetic of denoising: which noise levels a run visits and how a latent moves from one to the next.
//
// A latent at a noise level is x = signal·x0 + noise·n, with x0 the clean latent and n unit noise; sigma = noise/signal.
// A Model knows the levels of training. A Grid is the list of levels (Points) of one run. A Sampler is a rule that moves a
// latent along a Grid, asking for the network's estimate of x0 as often as it needs. Nothing here touches a GPU.
//
// Names, schedules and numbers follow k-diffusion (Karras et al. 2022), the A1111 web UI and diffusers.
package sampler

import (
	"math"
	"slices"
	"sort"
)

// Model is the noise of training: for each training step t = 0, 1, … the share of signal left.
type Model struct {
	config    Config
	alphas    []float64 // cumulative product of 1 − beta: signal² at each step, falling
	sigmas    []float64 // √((1−alpha)/alpha), rising
	logSigmas []float64
}

// leastAlpha stands for an alpha of 0 where sigma must be finite, as in diffusers: sigma is then 4096.
const leastAlpha = 1.0 / (1 << 24)

// NewModel makes the tables of a configuration.
func NewModel(config Config) (*Model, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	betas, err := config.betas()
	if err != nil {
		return nil, err
	}
	m := &Model{config: config, alphas: cumulative(betas)}
	if config.ZeroSNR {
		m.alphas = zeroSNR(m.alphas)
	}
	for i, alpha := range m.alphas {
		// Reference programs keep this table in float32. Near t = 0 that changes sigma by 1e-5, so it is part of the schedule.
		m.alphas[i] = float64(float32(alpha))
		alpha = max(m.alphas[i], leastAlpha)
		sigma := math.Sqrt((1 - alpha) / alpha)
		m.sigmas = append(m.sigmas, sigma)
		m.logSigmas = append(m.logSigmas, math.Log(sigma))
	}
	return m, nil
}

func cumulative(betas []float64) []float64 {
	alphas, product := make([]float64, len(betas)), 1.0
	for i, beta := range betas {
		product *= 1 - beta
		alphas[i] = product
	}
	return alphas
}

// zeroSNR shifts and stretches √alpha so that the last step is pure noise (Lin et al. 2023, algorithm 1).
func zeroSNR(alphas []float64) []float64 {
	first, last := math.Sqrt(alphas[0]), math.Sqrt(alphas[len(alphas)-1])
	rescaled := make([]float64, len(alphas))
	for i, alpha := range alphas {
		root := (math.Sqrt(alpha) - last) * first / (first - last)
		rescaled[i] = root * root
	}
	return rescaled
}

// Config returns the configuration that the model was made from.
func (m *Model) Config() Config { return m.config }

// Alphas returns the cumulative alphas, one per training step.
func (m *Model) Alphas() []float64 { return slices.Clone(m.alphas) }

// SigmaMin and SigmaMax are the noise levels of the first and the last training step.
func (m *Model) SigmaMin() float64 { return m.sigmas[0] }

// SigmaMax is the noise level of the last training step.
func (m *Model) SigmaMax() float64 { return m.sigmas[len(m.sigmas)-1] }

// Sigma returns the noise level at a time step, which may lie between two training steps: ln sigma is linear there.
func (m *Model) Sigma(t float64) float64 { return math.Exp(interpolate(m.logSigmas, t)) }

// Timestep is the inverse of Sigma. Levels outside of those of training give the first or the last step.
func (m *Model) Timestep(sigma float64) float64 {
	log := math.Log(sigma)
	last := len(m.logSigmas) - 1
	above := sort.SearchFloat64s(m.logSigmas, log) // first step that is at least as noisy
	switch {
	case above == 0 || math.IsNaN(log):
		return 0
	case above > last:
		return float64(last)
	}
	low, high := m.logSigmas[above-1], m.logSigmas[above]
	return float64(above-1) + (log-low)/(high-low)
}

// interpolate reads a table at a fractional index, linearly, clamped to its ends.
func interpolate(table []float64, at float64) float64 {
	at = min(max(at, 0), float64(len(table)-1))
	i := min(int(at), len(table)-2)
	w := at - float64(i)
	return table[i]*(1-w) + table[i+1]*w
}
