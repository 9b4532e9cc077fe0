package sampler

import "slices"

// heunpp is Heun++ as in ComfyUI (heunpp2): the noise estimates at the ends of this step and the next are averaged, weighed by
// their sigmas. The step to no noise is Euler's, the one before it asks twice.
func heunpp(st *step, x []float32) error {
	ahead, at := slices.Clone(x), st.from
	var estimates [][]float32
	for k := 1; k <= 3; k++ {
		denoised, err := st.denoise(ahead, at)
		if err != nil {
			return err
		}
		estimates = append(estimates, noiseIn(ahead, denoised, at))
		if k == 3 || st.next+k >= st.grid.Steps() { // its end is the end of all
			break
		}
		next := st.grid.Points[st.next+k]
		straight(ahead, denoised, at, next)
		at = next
	}
	n := len(estimates)
	if n == 1 {
		drift(x, st.from, st.to, []float64{st.to.Sigma() - st.from.Sigma()}, estimates)
		return nil
	}
	weights := []float64{1}
	for k := 1; k < n; k++ {
		share := st.grid.Points[st.next+k].Sigma() / (float64(n) * st.grid.Points[0].Sigma())
		weights = append(weights, share)
		weights[0] -= share
	}
	drift(x, st.from, st.to, each(weights, func(w float64) float64 { return w * (st.to.Sigma() - st.from.Sigma()) }), estimates)
	return nil
}
