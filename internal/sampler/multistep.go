package sampler

import (
	"math"
	"slices"
)

// Multistep rules keep the noise estimates n of earlier steps and integrate them over sigma:
//
//	x'/signal' = x/signal + ∫ n dσ,  n a polynomial through the estimates

// noiseIn is the noise that a clean latent leaves in x.
func noiseIn(x, denoised []float32, at Point) []float32 {
	n := make([]float32, len(x))
	for i := range x {
		n[i] = float32((float64(x[i]) - at.Signal*float64(denoised[i])) / at.Noise)
	}
	return n
}

// drift moves x from one level to another: the integral is the weighted sum of estimates.
func drift(x []float32, from, to Point, weights []float64, estimates [][]float32) {
	for i := range x {
		sum := float64(x[i]) / from.Signal
		for k, weight := range weights {
			sum += weight * float64(estimates[k][i])
		}
		x[i] = float32(to.Signal * sum)
	}
}

// multistep is a rule that weighs the newest noise estimates: weigh gets their number and returns as many weights or fewer.
// A step without an earlier estimate, or to no noise at all unless always, is Euler's.
func multistep(always bool, weigh func(st *step, n int) []float64) rule {
	return func(st *step, x []float32) error {
		denoised, err := st.denoise(x, st.from)
		if err != nil {
			return err
		}
		estimates := append([][]float32{noiseIn(x, denoised, st.from)}, st.estimates()...)
		st.remember(estimates[0])
		if len(estimates) == 1 || st.to.Noise == 0 && !always {
			straight(x, denoised, st.from, st.to)
			return nil
		}
		drift(x, st.from, st.to, weigh(st, len(estimates)), estimates)
		return nil
	}
}

// pastSigmas are the levels at which the newest n estimates were made, newest first, with where this step goes in front.
func (st *step) pastSigmas(n int) []float64 {
	sigmas := []float64{st.to.Sigma()}
	for k := range n {
		sigmas = append(sigmas, st.grid.Points[st.next-k].Sigma())
	}
	return sigmas
}

// lms is k-diffusion's linear multistep method of order 4: the polynomial through the estimates, integrated exactly.
func lms(st *step, n int) []float64 {
	past := st.pastSigmas(n)
	to, levels := past[0], past[1:]
	weights := make([]float64, n)
	for j := range weights {
		weights[j] = gauss2(levels[0], to, func(sigma float64) float64 { return lagrange(levels, j, sigma) })
	}
	return weights
}

// lagrange is the j-th basis polynomial of the given places at x.
func lagrange(places []float64, j int, x float64) float64 {
	product := 1.0
	for k, place := range places {
		if k != j {
			product *= (x - place) / (places[j] - place)
		}
	}
	return product
}

// gauss2 is the integral of a polynomial up to the third degree, by Gauss's rule with two places.
func gauss2(a, b float64, f func(float64) float64) float64 {
	middle, half := (a+b)/2, (b-a)/2
	offset := half / math.Sqrt(3)
	return half * (f(middle-offset) + f(middle+offset))
}

// adams are the coefficients of Adams and Bashforth for even steps, by order.
var adams = [][]float64{
	{1}, {3. / 2, -1. / 2}, {23. / 12, -16. / 12, 5. / 12}, {55. / 24, -59. / 24, 37. / 24, -9. / 24},
}

// ipndm is improved PNDM of order 4 (Zhang and Chen 2022), as in Forge: coefficients of even steps whatever the steps are, in
// the last one too.
func ipndm(st *step, n int) []float64 {
	length := st.to.Sigma() - st.from.Sigma()
	return each(slices.Clone(adams[n-1]), func(c float64) float64 { return c * length })
}

// ipndmV is ipndm with variable steps, as in Forge: like there, the third and fourth order are not quite the polynomials', and
// the weights of the fourth do not sum up to the step's length.
func ipndmV(st *step, n int) []float64 {
	past := st.pastSigmas(n)
	h := make([]float64, n) // lengths of this step and those before
	for k := range h {
		h[k] = past[k] - past[k+1]
	}
	r := h[0] / h[1]
	weights := []float64{1 + r/2, -r / 2, 0, 0}
	if n > 2 {
		h01, h12 := h[0]+h[1], h[1]+h[2]
		second := (1 - h[0]/(3*h01)*(h[0]*h01)/(h[1]*h12)) / 2
		weights[0] += second
		weights[1] -= (1 + h[1]/h[2]) * second
		weights[2] += second * h[1] / h[2]
	}
	if n > 3 {
		h01, h12, h23 := h[0]+h[1], h[1]+h[2], h[2]+h[3]
		h012, h123 := h01+h[2], h12+h[3]
		third := ((1-h[0]/(3*h01))/2 + (1-h[0]/(2*h01))*h[0]/(6*h012)) * (h[0] * h01 * h012) / (h[1] * h12 * h123)
		ratio, wide := h[1]/h[2], h[1]*h12/(h[2]*h23)
		weights[0] += third
		weights[1] -= (1 + ratio + wide) * third
		weights[2] += (ratio + wide*(1+h[2]/h[3])) * third
		weights[3] -= third * wide * ratio
	}
	return each(weights[:n], func(c float64) float64 { return c * h[0] })
}

// deis is Zhang and Chen 2022 in both of its usual forms: diffusers' order 2 in closed form, ComfyUI's order 3 by a table.
func deis(st *step, n int) []float64 {
	if st.grid.style == Diffusers {
		if steps := st.grid.Steps(); st.next == steps-1 && steps < 15 { // lower_order_final
			return []float64{st.to.Sigma() - st.from.Sigma()}
		}
		return deisClosed(st.pastSigmas(min(n, 2)))
	}
	return deisTable(st.pastSigmas(min(n, 3)))
}

// deisClosed integrates a line in ln sigma through two estimates.
func deisClosed(past []float64) []float64 {
	to, now, before := past[0], past[1], past[2]
	integral := func(at, b, c float64) float64 { // of (ln t − ln c)/(ln b − ln c)
		return at * (math.Log(at) - math.Log(c) - 1) / (math.Log(b) - math.Log(c))
	}
	return []float64{
		integral(to, now, before) - integral(now, now, before),
		integral(to, before, now) - integral(now, before, now),
	}
}

// plms is the pseudo linear multistep method (Liu et al. 2022) as CompVis, A1111 and diffusers have it: estimates are weighed
// as for even steps and take the place of one; the first step asks the network twice.
func plms(st *step, x []float32) error {
	denoised, err := st.denoise(x, st.from)
	if err != nil {
		return err
	}
	estimates := append([][]float32{noiseIn(x, denoised, st.from)}, st.estimates()...)
	st.remember(estimates[0])
	weights := adams[len(estimates)-1]
	if len(estimates) == 1 && st.grid.Steps() > 1 {
		ahead := slices.Clone(x)
		straight(ahead, denoised, st.from, st.to)
		second, err := st.denoise(ahead, st.to)
		if err != nil {
			return err
		}
		estimates, weights = append(estimates, noiseIn(ahead, second, st.to)), []float64{0.5, 0.5}
	}
	if len(estimates) == 1 || st.from.Signal == 0 { // from pure noise the noise says nothing of the picture
		straight(x, denoised, st.from, st.to)
		return nil
	}
	length := st.to.Sigma() - st.from.Sigma()
	drift(x, st.from, st.to, each(slices.Clone(weights), func(c float64) float64 { return c * length }), estimates)
	return nil
}
