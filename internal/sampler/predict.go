package sampler

import (
	"fmt"
	"math"
	"slices"
)

// Denoise turns a network's output at p into the estimate of the clean latent x0. x is the latent (not yet multiplied with
// InputScale). The result is new.
func (p Point) Denoise(prediction Prediction, x, output []float32) ([]float32, error) {
	if len(x) != len(output) {
		return nil, fmt.Errorf("denoise: the network gave %d values for a latent of %d", len(output), len(x))
	}
	ofX, ofOutput, err := p.coefficients(prediction)
	if err != nil {
		return nil, err
	}
	denoised := make([]float32, len(x))
	for i := range x {
		denoised[i] = float32(ofX*float64(x[i]) + ofOutput*float64(output[i]))
	}
	return denoised, nil
}

// coefficients: x0 = ofX·x + ofOutput·output.
func (p Point) coefficients(prediction Prediction) (ofX, ofOutput float64, err error) {
	scale := p.InputScale()
	switch prediction {
	case Epsilon: // x = signal·x0 + noise·n
		return 1 / p.Signal, -p.Noise / p.Signal, nil
	case V: // at variance 1: v = signal·n − noise·x0, so x0 = signal·x − noise·v
		return p.Signal * scale * scale, -p.Noise * scale, nil
	case Sample:
		return 0, 1, nil
	}
	return 0, 0, fmt.Errorf("prediction %q: want %s, %s or %s", prediction, Epsilon, V, Sample)
}

// Guide is classifier-free guidance (Ho and Salimans 2022): uncond + scale·(cond − uncond). The result is new. It may be
// applied to outputs or to denoised latents: both are linear.
func Guide(uncond, cond []float32, scale float64) []float32 {
	guided := make([]float32, len(cond))
	for i := range cond {
		u := float64(uncond[i])
		guided[i] = float32(u + scale*(float64(cond[i])-u))
	}
	return guided
}

// Rescale brings a guided output back towards the deviation of the output with the prompt, which guidance raises: share 0 leaves
// it, 1 gives it that deviation. Lin et al. 2023, section 3.4; diffusers' guidance_rescale. The result is new.
func Rescale(guided, cond []float32, share float64) []float32 {
	out := slices.Clone(guided)
	wide := deviation(guided)
	if wide == 0 {
		return out
	}
	factor := share*deviation(cond)/wide + 1 - share
	for i, v := range guided {
		out[i] = float32(factor * float64(v))
	}
	return out
}

// deviation is the standard deviation of a whole picture, channels and places alike.
func deviation(v []float32) float64 {
	sum, squares := 0.0, 0.0
	for _, x := range v {
		sum += float64(x)
	}
	mean := sum / float64(len(v))
	for _, x := range v {
		squares += (float64(x) - mean) * (float64(x) - mean)
	}
	return math.Sqrt(squares / float64(len(v)))
}
