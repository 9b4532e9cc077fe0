package sampler

import (
	"fmt"
	"math"
	"slices"
)

// Schedule names a list of noise levels for a run.
type Schedule string

// Schedules. The labels in names.go are A1111's.
const (
	Normal          Schedule = "normal" // evenly spaced time steps, the last training step first
	Karras          Schedule = "karras" // Karras et al. 2022, equation 5 with rho 7
	Exponential     Schedule = "exponential"
	PolyExponential Schedule = "polyexponential" // with rho 1, k-diffusion's default, it equals exponential
	SGMUniform      Schedule = "sgm_uniform"
	Simple          Schedule = "simple"
	DDIMUniform     Schedule = "ddim_uniform" // the number of steps can differ from that asked for
	Beta            Schedule = "beta"         // Lee et al. 2024, quantiles in sigma, as A1111 has it
	BetaComfy       Schedule = "beta_comfy"   // quantiles in time, as ComfyUI has it; can give fewer steps
	KLOptimal       Schedule = "kl_optimal"   // Sabour et al. 2024; ends in the least sigma, not in 0
	AlignYourSteps  Schedule = "align_your_steps"
	// AlignYourSteps32 is the same with 32 levels, as in Forge.
	AlignYourSteps32 Schedule = "align_your_steps_32"
	Turbo            Schedule = "turbo"
	VP               Schedule = "vp"               // Song et al. 2020, variance preserving, with k-diffusion's numbers
	LinearQuadratic  Schedule = "linear_quadratic" // as in ComfyUI: even at first, then faster and faster
)

// betaShape are both parameters of the Beta distribution of the schedules Beta and BetaComfy.
const betaShape = 0.6

// maxSteps bounds a run.
const maxSteps = 1000

// Align Your Steps, Sabour et al. 2024: levels optimized for each model family.
var (
	alignedSD = []float64{14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029}
	alignedXL = []float64{14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029}
)

// The same for 32 levels, as Forge has them.
var (
	alignedSD32 = []float64{
		14.615, 11.23951352, 8.64363081, 6.64729424, 5.57250862, 4.71648546, 3.99196065, 3.5195609,
		3.13490466, 2.79228788, 2.48773628, 2.21663865, 1.97508351, 1.7793172, 1.61475335, 1.46540953,
		1.314849, 1.16642497, 1.03475547, 0.91573744, 0.80748169, 0.71202361, 0.621739, 0.53065202,
		0.4529096, 0.37491455, 0.27461819, 0.2011529, 0.14105873, 0.06682881, 0.03166121, 0.015,
	}
	alignedXL32 = []float64{
		14.615, 11.1491618, 8.50522127, 6.48827151, 5.43707402, 4.60398619, 3.89854704, 3.27407457,
		2.74396527, 2.29968659, 1.95448514, 1.67108715, 1.42878152, 1.23181009, 1.06789649, 0.92579443,
		0.80290886, 0.69660121, 0.60436903, 0.52852552, 0.46773344, 0.41393379, 0.36258186, 0.31008517,
		0.26518925, 0.22326461, 0.17653877, 0.13959192, 0.10587381, 0.05519369, 0.02877334, 0.015,
	}
)

// Sigmas returns the noise levels of a schedule for n steps: falling, n + 1 of them, the last one 0 (exceptions are named at
// the schedules). xl chooses the SDXL table of AlignYourSteps.
func (m *Model) Sigmas(schedule Schedule, n int, xl bool) ([]float64, error) {
	if n < 1 || n > maxSteps {
		return nil, fmt.Errorf("steps %d: want 1…%d", n, maxSteps)
	}
	levels, err := m.levels(schedule, n, xl)
	if err != nil || schedule == KLOptimal {
		return levels, err
	}
	return append(levels, 0), nil
}

func (m *Model) levels(schedule Schedule, n int, xl bool) ([]float64, error) {
	low, high, last := m.SigmaMin(), m.SigmaMax(), float64(len(m.sigmas)-1)
	switch schedule {
	case Normal:
		return each(linspace(last, 0, n), m.Sigma), nil
	case SGMUniform:
		return each(linspace(last, 0, n+1)[:n], m.Sigma), nil
	case Karras:
		return KarrasSigmas(n, low, high, 7), nil
	case Exponential:
		return PolyExponentialSigmas(n, low, high, 1), nil
	case PolyExponential:
		return PolyExponentialSigmas(n, low, high, 1), nil
	case Simple:
		return m.simple(n), nil
	case DDIMUniform:
		return m.ddimUniform(n), nil
	case Turbo:
		return m.turbo(n), nil
	case Beta:
		return each(linspace(1, 0, n), func(p float64) float64 { return low + betaQuantile(betaShape, p)*(high-low) }), nil
	case BetaComfy:
		return m.betaComfy(n), nil
	case KLOptimal:
		return klOptimal(n, low, high), nil
	case AlignYourSteps:
		if xl {
			return resample(alignedXL, n), nil
		}
		return resample(alignedSD, n), nil
	case AlignYourSteps32:
		if xl {
			return resample(alignedXL32, n), nil
		}
		return resample(alignedSD32, n), nil
	case VP:
		return vp(n), nil
	case LinearQuadratic:
		return linearQuadratic(n, high), nil
	}
	return nil, unknown("schedule", string(schedule), scheduleNames())
}

func each(values []float64, f func(float64) float64) []float64 {
	for i, v := range values {
		values[i] = f(v)
	}
	return values
}

// KarrasSigmas is Karras et al. 2022, equation 5, without the final 0. n = 1 gives high. It is rounded to float32 at each step
// as in k-diffusion: the 7th power makes 4e-7 of that, a thousandth of a time step, which a network can tell apart.
func KarrasSigmas(n int, low, high, rho float64) []float64 {
	from := float32(math.Pow(high, 1/rho))
	span := float32(math.Pow(low, 1/rho) - math.Pow(high, 1/rho))
	return each(linspace32(n), func(v float64) float64 {
		level := from + float32(float32(v)*span)
		return float64(float32(math.Pow(float64(level), rho)))
	})
}

// linspace32 is n even steps from 0 to 1 in float32, built from both ends as torch.linspace does.
func linspace32(n int) []float64 {
	values, step := make([]float64, n), 1/float32(max(n-1, 1))
	for i := range values {
		values[i] = float64(step * float32(i))
		if i >= n/2 && n > 1 {
			values[i] = float64(1 - float32(step*float32(n-1-i)))
		}
	}
	return values
}

// PolyExponentialSigmas is a polynomial of degree rho in ln sigma (k-diffusion), without the final 0.
func PolyExponentialSigmas(n int, low, high, rho float64) []float64 {
	from, span := math.Log(low), math.Log(high)-math.Log(low)
	return each(linspace(1, 0, n), func(v float64) float64 { return math.Exp(math.Pow(v, rho)*span + from) })
}

func (m *Model) simple(n int) []float64 {
	total := len(m.sigmas)
	levels := make([]float64, n)
	for i := range levels {
		levels[i] = m.sigmas[total-1-int(float64(i)*float64(total)/float64(n))]
	}
	return levels
}

func (m *Model) ddimUniform(n int) []float64 {
	var levels []float64
	for t := 1; t < len(m.sigmas); t += max(len(m.sigmas)/n, 1) {
		levels = append(levels, m.sigmas[t])
	}
	slices.Reverse(levels)
	return levels
}

func (m *Model) turbo(n int) []float64 {
	levels := make([]float64, n)
	for i := range levels {
		t := math.RoundToEven(float64(len(m.sigmas))/float64(n)*float64(n-i) - 1)
		levels[i] = m.sigmas[max(int(t), 0)]
	}
	return levels
}

func (m *Model) betaComfy(n int) []float64 {
	last := float64(len(m.sigmas) - 1)
	var levels []float64
	before := -1
	for _, p := range linspace(1, 0, n+1)[:n] {
		t := int(math.RoundToEven(betaQuantile(betaShape, p) * last))
		if t != before {
			levels = append(levels, m.sigmas[t])
		}
		before = t
	}
	return levels
}

// vp is k-diffusion's get_sigmas_vp: a variance preserving process with betas from 0.1 to 20, down to time 0.001. There it is
// computed in float32, which shows near 0.
func vp(n int) []float64 {
	return each(linspace(1, 1e-3, n), func(t float64) float64 {
		grown := float32(math.Exp(float64(float32(19.9*t*t/2 + 0.1*t))))
		return math.Sqrt(float64(grown - 1))
	})
}

// linearQuadratic falls evenly by 2.5 % of the whole during half of the steps, and then faster and faster.
func linearQuadratic(n int, high float64) []float64 {
	const slow = 0.025
	half := float64(n / 2)
	rest := float64(n) - half
	levels := make([]float64, n)
	for i := range levels {
		at := float64(i)
		fallen := 0.0
		if i > 0 {
			beyond := max(at-half, 0)
			fallen = slow*at/half + (half-slow*float64(n))/(half*rest*rest)*beyond*beyond
		}
		levels[i] = high * (1 - fallen)
	}
	return levels
}

func klOptimal(n int, low, high float64) []float64 {
	levels := linspace(0, 1, n+1)
	return each(levels, func(w float64) float64 { return math.Tan(w*math.Atan(low) + (1-w)*math.Atan(high)) })
}

// resample reads a falling table at n even places, linearly in ln sigma; n = 1 gives its least value.
func resample(table []float64, n int) []float64 {
	logs := make([]float64, len(table))
	for i, v := range table {
		logs[len(table)-1-i] = math.Log(v)
	}
	levels := each(linspace(0, float64(len(table)-1), n), func(at float64) float64 { return math.Exp(interpolate(logs, at)) })
	slices.Reverse(levels)
	return levels
}

// CheckSigmas checks levels given by a person: falling, finite, the last one 0.
func CheckSigmas(levels []float64) error {
	if len(levels) < 2 || len(levels) > maxSteps+1 {
		return fmt.Errorf("sigmas: %d values, want 2…%d", len(levels), maxSteps+1)
	}
	for i, sigma := range levels {
		switch {
		case math.IsNaN(sigma) || math.IsInf(sigma, 0) || sigma < 0:
			return fmt.Errorf("sigmas[%d] = %v: want a finite number, at least 0", i, sigma)
		case i > 0 && sigma >= levels[i-1]:
			return fmt.Errorf("sigmas[%d] = %v: want less than the one before, %v", i, sigma, levels[i-1])
		}
	}
	if last := levels[len(levels)-1]; last != 0 {
		return fmt.Errorf("sigmas: the last one is %v, want 0", last)
	}
	return nil
}
