package reference

import "math"

// Softmax is exp(x)/Σexp(x) over each row: x [rows,width] → like x.
func Softmax(x []float32, width int) []float32 {
	y := make([]float32, len(x))
	parallel(len(x)/width, func(from, to int) {
		row := make([]float64, width)
		for r := from; r < to; r++ {
			widenTo(row, x[r*width:(r+1)*width])
			softmax(row)
			for i, v := range row {
				y[r*width+i] = float32(v)
			}
		}
	})
	return y
}

// softmax replaces x by exp(x)/Σexp(x), with the greatest element taken off first.
func softmax(x []float64) {
	most := math.Inf(-1)
	for _, v := range x {
		most = max(most, v)
	}
	var sum float64
	for i, v := range x {
		x[i] = math.Exp(v - most)
		sum += x[i]
	}
	for i := range x {
		x[i] /= sum
	}
}

// Attention is softmax(q·kᵀ/√d)·v for each head of d = channels/heads neighbouring channels: q [n,t,channels], k and v
// [n,s,channels] → like q. With causal, query i sees keys 0…i only. Vaswani et al. 2017.
func Attention(q, k, v []float32, n, channels, heads int, causal bool) []float32 {
	t, s, d := len(q)/n/channels, len(k)/n/channels, channels/heads
	y := make([]float32, len(q))
	keys, values := widen(k), widen(v)
	parallel(n*heads*t, func(from, to int) {
		scores, query, sum := make([]float64, s), make([]float64, d), make([]float64, d)
		for r := from; r < to; r++ {
			picture, head, i := r/t/heads, r/t%heads, r%t
			at, first := (picture*t+i)*channels+head*d, picture*s*channels+head*d
			seen := s
			if causal {
				seen = min(i+1, s)
			}
			widenTo(query, q[at:at+d])
			attend(sum, query, keys[first:], values[first:], scores[:seen], channels)
			for c, value := range sum {
				y[at+c] = float32(value)
			}
		}
	})
	return y
}

// attend sets sum [d] to the values weighted by the softmax of query·key/√d over the first len(scores) keys. Rows of keys
// and values are stride apart.
func attend(sum, query, keys, values, scores []float64, stride int) {
	scale := 1 / math.Sqrt(float64(len(query)))
	for j := range scores {
		scores[j] = dot(query, keys[j*stride:]) * scale
	}
	softmax(scores)
	clear(sum)
	for j, weight := range scores {
		for c, v := range values[j*stride:][:len(sum)] {
			sum[c] += weight * v
		}
	}
}
