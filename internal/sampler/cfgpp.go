package sampler

import (
	"math"
	"slices"
)

// CFG++ (Chung et al. 2024, arXiv 2406.08070): the picture is what guidance makes of it, the noise that is put back is what
// the network sees without the prompt. Guidance is then about 1 to 2. The rules are those of the samplers without CFG++, and
// equal them where both estimates are the same; their forms are ComfyUI's.

// ancestralCFGpp is euler_cfg_pp and euler_ancestral_cfg_pp.
func ancestralCFGpp(st *step, x []float32) error {
	seen, err := st.estimate(x, st.from)
	if err != nil {
		return err
	}
	land, up := st.split(st.to)
	n := noiseIn(x, seen.Uncond, st.from)
	for i := range x {
		x[i] = float32(land.Signal*float64(seen.Clean[i]) + land.Noise*float64(n[i]))
	}
	return st.addNoise(x, up, st.to)
}

// dpmpp2MCFGpp is dpmpp_2m_cfg_pp; it remembers the estimate without the prompt.
func dpmpp2MCFGpp(st *step, x []float32) error {
	seen, err := st.estimate(x, st.from)
	if err != nil {
		return err
	}
	st.remember(seen.Uncond)
	h := st.stretch(st.next + 1)
	slope := 0.0
	previous, length := st.earlier(1)
	if previous != nil && st.to.Noise != 0 {
		slope = -math.Expm1(-h) * h / (2 * length)
	}
	for i := range x {
		clean, uncond := float64(seen.Clean[i]), float64(seen.Uncond[i])
		moved := clean + math.Exp(-h)*(float64(x[i])/st.from.Signal-uncond)
		if slope != 0 {
			moved += slope * (clean - float64(previous[i]))
		}
		x[i] = float32(st.to.Signal * moved)
	}
	return nil
}

// dpmpp2SCFGpp is dpmpp_2s_ancestral_cfg_pp: DPM-Solver++ (2S) with the guided estimates, from a latent to which the difference
// that guidance makes is added first.
func dpmpp2SCFGpp(st *step, x []float32) error {
	first, err := st.estimate(x, st.from)
	if err != nil {
		return err
	}
	land, up := st.split(st.to)
	for i := range x {
		x[i] = float32(float64(x[i]) + st.from.Signal*(float64(first.Clean[i])-float64(first.Uncond[i])))
	}
	seen := first
	if land.Noise != 0 {
		middle := st.grid.at(math.Sqrt(st.from.Sigma() * land.Sigma()))
		between := slices.Clone(x)
		integrate(between, first.Clean, st.from, middle)
		if seen, err = st.estimate(between, middle); err != nil {
			return err
		}
	}
	integrate(x, seen.Clean, st.from, land)
	return st.addNoise(x, up, st.to)
}
