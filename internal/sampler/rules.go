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
	land, up := st.split(st.to)
	straight(x, denoised, st.from, land)
	return st.addNoise(x, up, st.to)
}

// split divides the noise of a level into what stays of the noise of st.from and what is made anew: the point to land at
// before noise of deviation up is added.
func (st *step) split(to Point) (land Point, up float64) {
	ratio := to.Noise / to.Signal * st.from.Signal / st.from.Noise // sigma'/sigma, also for infinite sigma
	up = st.eta * to.Noise * math.Sqrt(max(1-ratio*ratio, 0))
	land = to
	land.Noise = math.Sqrt(max(to.Noise*to.Noise-up*up, 0))
	return land, up
}

// straight moves x to another level with the same estimates of picture and noise.
func straight(x, denoised []float32, from, to Point) {
	for i := range x {
		x0 := float64(denoised[i])
		n := (float64(x[i]) - from.Signal*x0) / from.Noise
		x[i] = float32(to.Signal*x0 + to.Noise*n)
	}
}

// heun is Heun's method in sigma (Karras et al. 2022, algorithm 1 without churn): the mean of the noise estimates at both
// ends. The step to no noise is Euler's.
func heun(st *step, x []float32) error {
	first, err := st.denoise(x, st.from)
	if err != nil {
		return err
	}
	ahead := append([]float32(nil), x...)
	straight(ahead, first, st.from, st.to)
	if st.to.Noise == 0 {
		copy(x, ahead)
		return nil
	}
	second, err := st.denoise(ahead, st.to)
	if err != nil {
		return err
	}
	// In x/signal the slope is n, and the step is long sigma' − sigma.
	half := (st.to.Sigma() - st.from.Sigma()) / 2
	for i := range x {
		n1 := (float64(x[i]) - st.from.Signal*float64(first[i])) / st.from.Noise
		n2 := (float64(ahead[i]) - st.to.Signal*float64(second[i])) / st.to.Noise
		x[i] = float32(st.to.Signal * (float64(x[i])/st.from.Signal + half*(n1+n2)))
	}
	return nil
}

// dpm2 is k-diffusion's dpm_2 and dpm_2_ancestral: the whole step with the noise estimate at its geometric middle.
func dpm2(st *step, x []float32) error {
	first, err := st.denoise(x, st.from)
	if err != nil {
		return err
	}
	land, up := st.split(st.to)
	if land.Noise == 0 {
		straight(x, first, st.from, land)
		return st.addNoise(x, up, st.to)
	}
	middle := st.grid.at(math.Sqrt(st.from.Sigma() * land.Sigma()))
	between := append([]float32(nil), x...)
	straight(between, first, st.from, middle)
	second, err := st.denoise(between, middle)
	if err != nil {
		return err
	}
	length := land.Sigma() - st.from.Sigma()
	for i := range x {
		n := (float64(between[i]) - middle.Signal*float64(second[i])) / middle.Noise
		x[i] = float32(land.Signal * (float64(x[i])/st.from.Signal + length*n))
	}
	return st.addNoise(x, up, st.to)
}
