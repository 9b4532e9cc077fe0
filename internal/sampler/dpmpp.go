package sampler

import "math"

// The DPM-Solver++ family (Lu et al. 2022) integrates exactly in lambda = ln(signal/noise), with x0 constant or a polynomial
// over a step of length h:
//
//	x' = noise'/noise · x + signal'·(1 − e^(−h))·x0

// integrate is that formula, for constant x0.
func integrate(x, denoised []float32, from, to Point) {
	ofX := to.Noise / from.Noise
	ofX0 := -to.Signal * math.Expm1(from.logRatio()-to.logRatio())
	for i := range x {
		x[i] = float32(ofX*float64(x[i]) + ofX0*float64(denoised[i]))
	}
}

// stretch is the length in lambda of the step that ended at point i of the grid; 0 before the first.
func (st *step) stretch(i int) float64 {
	if i < 1 {
		return 0
	}
	return st.grid.Points[i].logRatio() - st.grid.Points[i-1].logRatio()
}

// earlier returns the k-th estimate before this one (k = 1, 2) and the length of the step that it began; no estimate where
// there is no such step or it had no length (a grid with more steps than training had).
func (st *step) earlier(k int) (denoised []float32, length float64) {
	if len(st.history) < k {
		return nil, 0
	}
	length = st.stretch(st.next + 1 - k)
	if length == 0 {
		return nil, 0
	}
	return st.history[k-1], length
}

// dpmpp2M is DPM-Solver++(2M), Lu et al. 2022, algorithm 2: x0 on a line through this and the previous estimate. The first
// step, and one to no noise at all, use this estimate alone.
func dpmpp2M(st *step, x []float32) error {
	denoised, err := st.denoise(x, st.from)
	if err != nil {
		return err
	}
	st.remember(denoised)
	previous, length := st.earlier(1)
	if previous == nil || st.to.Noise == 0 {
		integrate(x, denoised, st.from, st.to)
		return nil
	}
	slope := st.stretch(st.next+1) / (2 * length)
	line := make([]float32, len(x))
	for i := range x {
		x0 := float64(denoised[i])
		line[i] = float32(x0 + slope*(x0-float64(previous[i])))
	}
	integrate(x, line, st.from, st.to)
	return nil
}

// sdeStep does what the multistep solvers of the stochastic equation share (k-diffusion's dpmpp_2m_sde and dpmpp_3m_sde):
// more of the old noise goes (the step is longer by eta·h), and new noise takes its place. bend returns what is added for
// element i because x0 is not constant; it may be nil.
func (st *step) sdeStep(x, denoised []float32, bend func(i int) float64) error {
	h := st.stretch(st.next + 1)
	ofX, ofX0 := st.to.Noise/st.from.Noise*math.Exp(-st.eta*h), -st.to.Signal*math.Expm1(-h*(1+st.eta))
	for i := range x {
		moved := ofX*float64(x[i]) + ofX0*float64(denoised[i])
		if bend != nil {
			moved += st.to.Signal * bend(i)
		}
		x[i] = float32(moved)
	}
	return st.addNoise(x, st.to.Noise*math.Sqrt(-math.Expm1(-2*st.eta*h)), st.to)
}

// dpmpp2MSDE is SDE-DPM-Solver++(2M) with the midpoint correction, as in k-diffusion.
func dpmpp2MSDE(st *step, x []float32) error {
	return st.secondOrderSDE(x, func(long float64) float64 { return -math.Expm1(-long) / 2 })
}

// dpmpp2MSDEHeun is the same with Heun's correction (solver_type heun).
func dpmpp2MSDEHeun(st *step, x []float32) error {
	return st.secondOrderSDE(x, func(long float64) float64 { return math.Expm1(-long)/long + 1 })
}

// secondOrderSDE weighs the slope of x0 by a function of the step's length, new noise included.
func (st *step) secondOrderSDE(x []float32, weigh func(long float64) float64) error {
	denoised, err := st.denoise(x, st.from)
	if err != nil {
		return err
	}
	st.remember(denoised)
	if st.to.Noise == 0 { // the estimate is the picture
		integrate(x, denoised, st.from, st.to)
		return nil
	}
	previous, length := st.earlier(1)
	if previous == nil {
		return st.sdeStep(x, denoised, nil)
	}
	h := st.stretch(st.next + 1)
	weight := weigh(h*(1+st.eta)) * h / length
	return st.sdeStep(x, denoised, func(i int) float64 { return weight * (float64(denoised[i]) - float64(previous[i])) })
}

// dpmpp3MSDE is k-diffusion's dpmpp_3m_sde: x0 on a parabola through three estimates, or a line through two.
func dpmpp3MSDE(st *step, x []float32) error {
	now, err := st.denoise(x, st.from)
	if err != nil {
		return err
	}
	st.remember(now)
	if st.to.Noise == 0 {
		integrate(x, now, st.from, st.to)
		return nil
	}
	before, length1 := st.earlier(1)
	if before == nil {
		return st.sdeStep(x, now, nil)
	}
	h := st.stretch(st.next + 1)
	long := h * (1 + st.eta)
	phi2 := math.Expm1(-long)/long + 1
	phi3 := phi2/long - 0.5
	r0 := length1 / h
	oldest, length2 := st.earlier(2)
	return st.sdeStep(x, now, func(i int) float64 {
		d0 := (float64(now[i]) - float64(before[i])) / r0
		if oldest == nil {
			return phi2 * d0
		}
		r1 := length2 / h
		d1 := (float64(before[i]) - float64(oldest[i])) / r1
		second := (d0 - d1) / (r0 + r1)
		return phi2*(d0+second*r0) - phi3*second
	})
}

// dpmpp2S is k-diffusion's dpmpp_2s_ancestral: the whole step with the estimate at its middle, then new noise.
func dpmpp2S(st *step, x []float32) error {
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
	integrate(between, first, st.from, middle)
	second, err := st.denoise(between, middle)
	if err != nil {
		return err
	}
	integrate(x, second, st.from, land)
	return st.addNoise(x, up, st.to)
}

// dpmppSDE is k-diffusion's dpmpp_sde with r = 1/2: as dpmpp2S, with new noise at the middle too.
func dpmppSDE(st *step, x []float32) error {
	first, err := st.denoise(x, st.from)
	if err != nil {
		return err
	}
	if st.to.Noise == 0 {
		straight(x, first, st.from, st.to)
		return nil
	}
	middle := st.grid.at(math.Sqrt(st.from.Sigma() * st.to.Sigma()))
	land, up := st.split(middle)
	between := append([]float32(nil), x...)
	integrate(between, first, st.from, land)
	if err := st.addNoise(between, up, middle); err != nil {
		return err
	}
	second, err := st.denoise(between, middle)
	if err != nil {
		return err
	}
	land, up = st.split(st.to)
	integrate(x, second, st.from, land)
	return st.addNoise(x, up, st.to)
}

// dpmpp2SSingle is DPMSolverSinglestepScheduler of diffusers: steps in pairs, of which the second goes over both at once, from
// where the first began and with its estimate at the middle (Lu et al. 2022, algorithm 1). It remembers that latent.
func dpmpp2SSingle(st *step, x []float32) error {
	now, err := st.denoise(x, st.from)
	if err != nil {
		return err
	}
	if st.next%2 == 0 || st.next == st.grid.Steps()-1 {
		st.remember(now, append([]float32(nil), x...))
		integrate(x, now, st.from, st.to)
		return nil
	}
	begin, first, from := st.history[0], st.history[1], st.grid.Points[st.next-1]
	st.remember(now, begin)
	whole := st.to.logRatio() - from.logRatio()
	share := whole / (2 * st.stretch(st.next))
	line := make([]float32, len(x))
	for i := range x {
		x0 := float64(first[i])
		line[i] = float32(x0 + share*(float64(now[i])-x0))
	}
	copy(x, begin)
	integrate(x, line, from, st.to)
	return nil
}
