package sampler

import "math"

// lcm is for latent consistency models (Luo et al. 2023) and those distilled like them: the estimate, with new noise of the
// next level. diffusers also mixes in the latent by a share below 1e-5, which is left out.
func lcm(st *step, x []float32) error {
	denoised, err := st.denoise(x, st.from)
	if err != nil {
		return err
	}
	for i := range x {
		x[i] = float32(st.to.Signal * float64(denoised[i]))
	}
	return st.addNoise(x, st.to.Noise, st.to)
}

// tcd is for trajectory consistency models (Zheng et al. 2024): down to the level of (1 − eta) of the next time step, and up
// again to the next one with new noise. The last step only goes down.
func tcd(st *step, x []float32) error {
	denoised, err := st.denoise(x, st.from)
	if err != nil {
		return err
	}
	low := st.to
	if st.to.Noise > 0 && st.eta > 0 {
		low = st.grid.atStep(math.Floor((1 - st.eta) * st.to.Timestep))
	}
	straight(x, denoised, st.from, low)
	if low == st.to {
		return nil
	}
	ratio := st.to.Signal / low.Signal
	for i := range x {
		x[i] = float32(ratio * float64(x[i]))
	}
	kept := ratio * low.Noise
	return st.addNoise(x, math.Sqrt(max(st.to.Noise*st.to.Noise-kept*kept, 0)), st.to)
}
