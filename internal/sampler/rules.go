package sampler

import "math"

// ancestral is one rule for several names. The estimate of the noise, scaled down, and a share of new noise take the place
// of the noise that was there:
//
//	x' = signal'·x0 + down·n + up·fresh,  down² + up² = noise'²
//
// With eta = 0 it is Euler's method in sigma (k-diffusion's euler), which is DDIM with eta 0 (Song et al. 2020, equation 12);
// with eta > 0 it is euler_ancestral and DDIM with that eta: their formulas for the new noise agree, eta·√(1 − (sigma'/sigma)²)
// of noise'. With eta = 1 between steps of training it is DDPM with its smaller variance.
func ancestral(st *step, x []float32) error {
	denoised, err := st.denoise(x, st.from)
	if err != nil {
		return err
	}
	down, up := st.split()
	for i := range x {
		x0 := float64(denoised[i])
		n := (float64(x[i]) - st.from.Signal*x0) / st.from.Noise
		x[i] = float32(st.to.Signal*x0 + down*n)
	}
	return st.addNoise(x, up)
}

// split divides the noise of the next level into old and new.
func (st *step) split() (down, up float64) {
	ratio := st.to.Noise / st.to.Signal * st.from.Signal / st.from.Noise // sigma'/sigma, also for infinite sigma
	up = st.eta * st.to.Noise * math.Sqrt(max(1-ratio*ratio, 0))
	return math.Sqrt(max(st.to.Noise*st.to.Noise-up*up, 0)), up
}

// dpmpp2M is DPM-Solver++(2M), Lu et al. 2022, algorithm 2: a line through this and the previous estimate of x0, integrated
// exactly in lambda = ln(signal/noise). The first step, and one to no noise at all, use this estimate alone.
func dpmpp2M(st *step, x []float32) error {
	denoised, err := st.denoise(x, st.from)
	if err != nil {
		return err
	}
	st.remember(denoised)
	h := st.to.logRatio() - st.from.logRatio()
	ofX, ofX0 := st.to.Noise/st.from.Noise, -st.to.Signal*math.Expm1(-h)
	previous, slope := st.line(denoised, h)
	for i := range x {
		x0 := float64(denoised[i])
		x0 += slope * (x0 - float64(previous[i]))
		x[i] = float32(ofX*float64(x[i]) + ofX0*x0)
	}
	return nil
}

// line returns the previous estimate and what of the difference to it is to be added, for a step of h in lambda; 0 where
// there is no line to follow.
func (st *step) line(denoised []float32, h float64) (previous []float32, slope float64) {
	if len(st.history) == 0 || st.to.Noise == 0 {
		return denoised, 0
	}
	before := st.from.logRatio() - st.grid.Points[st.next-1].logRatio()
	if before == 0 { // two points at one level: a grid with more steps than training had
		return denoised, 0
	}
	return st.history[0], h / (2 * before)
}
