// Package reference is every operation of the networks in plain Go: the arithmetic that GPU kernels are checked against,
// by tests and by the doctor command.
//
// Values are []float32, row-major, channels last: pictures [N,H,W,C], tokens [N,T,C], rows [rows,C]. Sums are float64,
// results are rounded to float32 once. Every function returns a new slice and leaves its arguments alone. Extents that
// contradict the lengths of slices are programming errors and panic; callers check shapes first.
package reference

import (
	"math"
	"runtime"
	"sync"
)

// parallel calls f with disjoint ranges that cover [0,n), on all processors, and returns when all are done.
func parallel(n int, f func(from, to int)) {
	parts := min(runtime.GOMAXPROCS(0), n)
	if parts <= 1 {
		f(0, n)
		return
	}
	var wg sync.WaitGroup
	for p := range parts {
		wg.Go(func() { f(n*p/parts, n*(p+1)/parts) })
	}
	wg.Wait()
}

// widen converts to float64.
func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	parallel(len(x), func(from, to int) { widenTo(y[from:to], x[from:to]) })
	return y
}

func widenTo(y []float64, x []float32) {
	for i, v := range x {
		y[i] = float64(v)
	}
}

// Map applies f to every element.
func Map(x []float32, f func(float64) float64) []float32 {
	y := make([]float32, len(x))
	parallel(len(x), func(from, to int) {
		for i := from; i < to; i++ {
			y[i] = float32(f(float64(x[i])))
		}
	})
	return y
}

// SiLU is x·sigmoid(x). Elfwing et al. 2018.
func SiLU(x float64) float64 { return x / (1 + math.Exp(-x)) }

// GELU is x·Φ(x) in its exact form, with erf. Hendrycks and Gimpel 2016.
func GELU(x float64) float64 { return x / 2 * math.Erfc(-x/math.Sqrt2) }

// QuickGELU is x·sigmoid(1.702x), as in OpenAI's CLIP.
func QuickGELU(x float64) float64 { return x / (1 + math.Exp(-1.702*x)) }

// ReLU is max(x, 0).
func ReLU(x float64) float64 { return max(x, 0) }

// MeanPool halves pictures by the mean of every two by two places, of those that are there at an odd edge: x [n,h,w,channels].
func MeanPool(x []float32, n, h, w, channels int) []float32 {
	outH, outW := (h+1)/2, (w+1)/2
	y := make([]float32, n*outH*outW*channels)
	for i := range y {
		c, place := i%channels, i/channels
		left, top, picture := place%outW*2, place/outW%outH*2, place/outW/outH
		sum, count := 0.0, 0.0
		for py := top; py < min(top+2, h); py++ {
			for px := left; px < min(left+2, w); px++ {
				sum += float64(x[((picture*h+py)*w+px)*channels+c])
				count++
			}
		}
		y[i] = float32(sum / count)
	}
	return y
}

// GEGLU gates the first half of each row by GELU of the second: x [rows,2·channels] → [rows,channels]. Shazeer 2020.
func GEGLU(x []float32, channels int) []float32 {
	rows := len(x) / (2 * channels)
	y := make([]float32, rows*channels)
	parallel(rows, func(from, to int) {
		for r := from; r < to; r++ {
			value, gate := x[2*r*channels:][:channels], x[(2*r+1)*channels:][:channels]
			for i := range value {
				y[r*channels+i] = float32(float64(value[i]) * GELU(float64(gate[i])))
			}
		}
	})
	return y
}

// Add is a + b, elementwise.
func Add(a, b []float32) []float32 {
	y := make([]float32, len(a))
	for i, v := range a {
		y[i] = v + b[i]
	}
	return y
}

// AddPerChannel adds v [n,channels] to every place of x [n,places,channels].
func AddPerChannel(x, v []float32, n int) []float32 {
	channels := len(v) / n
	y := make([]float32, len(x))
	for i := range n {
		picture, sum := x[i*len(x)/n:(i+1)*len(x)/n], y[i*len(x)/n:]
		for j, value := range picture {
			sum[j] = value + v[i*channels+j%channels]
		}
	}
	return y
}

// Concat puts the channels of b after those of a: a [rows,ca], b [rows,cb] → [rows,ca+cb].
func Concat(a, b []float32, ca, cb int) []float32 {
	y := make([]float32, 0, len(a)+len(b))
	for r := range len(a) / ca {
		y = append(y, a[r*ca:(r+1)*ca]...)
		y = append(y, b[r*cb:(r+1)*cb]...)
	}
	return y
}

// Columns copies channels [from,from+count) of x [rows,channels] → [rows,count].
func Columns(x []float32, channels, from, count int) []float32 {
	y := make([]float32, 0, len(x)/channels*count)
	for r := range len(x) / channels {
		y = append(y, x[r*channels+from:][:count]...)
	}
	return y
}

// Embedding looks up a row of tokens [vocabulary,width] for each id and adds the row of positions [places,width] of the
// id's place: ids [n,t], whole numbers below vocabulary → [n,t,width]. A negative id has no row of tokens.
func Embedding(ids, tokens, positions []float32, t, width int) []float32 {
	y := make([]float32, 0, len(ids)*width)
	for i, id := range ids {
		position := positions[i%t*width:][:width]
		if id >= 0 {
			position = Add(tokens[int(id)*width:][:width], position)
		}
		y = append(y, position...)
	}
	return y
}
