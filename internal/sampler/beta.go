package sampler

import "math"

// betaQuantile returns x with P(X ≤ x) = p for a Beta(a, a) variable, a < 1, by bisection: the distribution function is
// smooth and rising, and the few calls of a run do not need more.
func betaQuantile(a, p float64) float64 {
	if p <= 0 {
		return 0
	}
	if p >= 1 {
		return 1
	}
	if p == 0.5 { // exactly, because callers round to whole steps
		return 0.5
	}
	if p > 0.5 { // symmetric; near 0 floating point is finer than near 1
		return 1 - betaQuantile(a, 1-p)
	}
	low, high := 0.0, 0.5
	for range 200 {
		middle := (low + high) / 2
		if middle == low || middle == high {
			break
		}
		if betaDistribution(a, middle) < p {
			low = middle
		} else {
			high = middle
		}
	}
	return (low + high) / 2
}

// betaDistribution is the regularized incomplete beta function I_x(a, a) for x ≤ 1/2, by the series
// x^a/(a·B(a,a)) · (1 + Σ a (1−a)(2−a)…(n−a) / (n! (a+n)) xⁿ) (Abramowitz and Stegun 26.5.4 and 6.6.8).
func betaDistribution(a, x float64) float64 {
	sum, term := 1/a, 1.0
	for n := 1.0; n < 1000; n++ {
		term *= (n - a) / n * x
		sum += term / (a + n)
		if term < 1e-18 {
			break
		}
	}
	logA, _ := math.Lgamma(a)
	log2A, _ := math.Lgamma(2 * a)
	return math.Exp(a*math.Log(x)-2*logA+log2A) * sum
}
