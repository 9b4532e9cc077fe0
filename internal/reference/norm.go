package reference

import "math"

// GroupNorm normalises each group of channels/groups channels over all places of a picture, then applies weight and bias
// per channel: x [n,places,channels], weight and bias [channels] → like x. Mean first, then the variance about it.
// Wu and He 2018.
func GroupNorm(x, weight, bias []float32, n, groups int, eps float64) []float32 {
	channels := len(weight)
	width, places := channels/groups, len(x)/n/channels
	y := make([]float32, len(x))
	parallel(n*groups, func(from, to int) {
		for g := from; g < to; g++ {
			first, at := g%groups*width, g/groups*places*channels+g%groups*width
			normalise(y[at:], x[at:], weight[first:][:width], bias[first:], places, channels, eps)
		}
	})
	return y
}

// LayerNorm normalises each row, then applies weight and bias per channel: x [rows,channels], weight and bias
// [channels] → like x. Ba et al. 2016.
func LayerNorm(x, weight, bias []float32, eps float64) []float32 {
	channels := len(weight)
	y := make([]float32, len(x))
	parallel(len(x)/channels, func(from, to int) {
		for r := from; r < to; r++ {
			normalise(y[r*channels:], x[r*channels:], weight, bias, 1, channels, eps)
		}
	})
	return y
}

// normalise sets y to weight·(x - mean)/√(variance + eps) + bias over len(weight) columns of the given number of rows,
// which start stride elements apart.
func normalise(y, x, weight, bias []float32, rows, stride int, eps float64) {
	width := len(weight)
	count := float64(rows * width)
	var sum float64
	for r := range rows {
		for _, v := range x[r*stride:][:width] {
			sum += float64(v)
		}
	}
	mean := sum / count
	var squares float64
	for r := range rows {
		for _, v := range x[r*stride:][:width] {
			squares += (float64(v) - mean) * (float64(v) - mean)
		}
	}
	scale := 1 / math.Sqrt(squares/count+eps)
	for r := range rows {
		for i, v := range x[r*stride:][:width] {
			y[r*stride+i] = float32((float64(v)-mean)*scale*float64(weight[i]) + float64(bias[i]))
		}
	}
}
