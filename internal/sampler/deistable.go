package sampler

import "math"

// The time of DEIS is that of a process with linear betas between sigma 0.002 and 80, as in its authors' code and ComfyUI.
// Its constants are float32 there, and so is all of the sum.
var deisBeta0, deisBeta1 = deisBetas(0.002, 80, 1e-3)

func deisBetas(low, high, least float64) (beta0, beta1 float32) {
	log := func(sigma float64) float32 { return float32(math.Log(float64(float32(sigma)*float32(sigma) + 1))) }
	spread := 2 * (log(low)/float32(least) - log(high)) / float32(least-1)
	beta0 = log(high) - 0.5*spread
	return beta0, spread + beta0
}

// deisTime is the time at which that process has a sigma.
func deisTime(sigma float64) float64 {
	b, spread := float64(deisBeta0), float64(deisBeta1-deisBeta0)
	return (math.Sqrt(b*b+2*spread*math.Log(sigma*sigma+1)) - b) / spread
}

// deisPlaces is the number of places of the sum. There are as many intervals as places, as in the reference: a whole integral
// would differ in the fourth digit.
const deisPlaces = 10_000

// deisTable weighs estimates by a sum over time ("tab" in DEIS): of the polynomial through them times what the process does.
func deisTable(past []float64) []float64 {
	times := make([]float64, len(past))
	for i, sigma := range past {
		times[i] = deisTime(sigma)
	}
	to, now, places := times[0], times[1], times[1:]
	weights := make([]float64, len(places))
	for i := range deisPlaces {
		t := float64(float32(now + (to-now)*float64(i)/(deisPlaces-1)))
		rate := deisRate(t)
		for j := range weights {
			weights[j] += rate * lagrange(places, j, t)
		}
	}
	return each(weights, func(sum float64) float64 { return sum * (to - now) / deisPlaces })
}

// deisRate is dσ/dt.
func deisRate(t float64) float64 {
	b, spread := float64(deisBeta0), float64(deisBeta1-deisBeta0)
	alpha := math.Exp(-0.5*t*t*spread - t*b)
	return 0.5 * (t*spread + b) / math.Sqrt(alpha*(1-alpha))
}
