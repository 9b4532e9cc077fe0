package reference

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"waggle/internal/goldens"
)

func normal(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 0))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// at is the definition of a convolution, written apart from conv.go: a sum over taps with bounds checked.
func (c Conv) at(x, w, bias []float32, n, oy, ox, out int) float64 {
	sum := float64(bias[out])
	for tap := range 9 {
		y, z := oy*c.Stride+tap/3-1, ox*c.Stride+tap%3-1
		if c.PadEnd {
			y, z = y+1, z+1
		}
		double := 1
		if c.Upsample {
			double = 2
		}
		if y < 0 || z < 0 || y >= double*c.H-c.CutH || z >= double*c.W-c.CutW {
			continue
		}
		pixel := x[((n*c.H+y/double)*c.W+z/double)*c.In:]
		for in := range c.In {
			sum += float64(pixel[in]) * float64(w[(out*c.In+in)*9+tap])
		}
	}
	return sum
}

func TestConv3x3(t *testing.T) {
	for _, c := range []Conv{
		{N: 1, H: 1, W: 1, In: 1, Out: 1, Stride: 1},
		{N: 2, H: 5, W: 19, In: 3, Out: 6, Stride: 1},
		{N: 1, H: 7, W: 4, In: 5, Out: 4, Stride: 2},
		{N: 1, H: 7, W: 9, In: 5, Out: 3, Stride: 2, PadEnd: true},
		{N: 2, H: 3, W: 5, In: 4, Out: 9, Stride: 1, Upsample: true},
		{N: 2, H: 3, W: 5, In: 4, Out: 3, Stride: 1, Upsample: true, CutH: 1},
		{N: 1, H: 2, W: 3, In: 4, Out: 3, Stride: 1, Upsample: true, CutH: 1, CutW: 1},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			x, w, bias := normal(1, c.N*c.H*c.W*c.In), normal(2, c.Out*c.In*9), normal(3, c.Out)
			got, i := Conv3x3(x, w, bias, c), 0
			h, width := c.OutSize()
			want := make([]float32, c.N*h*width*c.Out)
			for i = range want {
				p := i / c.Out
				want[i] = float32(c.at(x, w, bias, p/width/h, p/width%h, p%width, i%c.Out))
			}
			goldens.Near(t, "result", got, want, 1e-5)
		})
	}
}

func TestMatMul(t *testing.T) {
	for _, s := range [][3]int{{1, 1, 1}, {3, 5, 2}, {17, 7, 9}, {33, 8, 4}} {
		m, k, n := s[0], s[1], s[2]
		a, b := normal(1, m*k), normal(2, k*n)
		want := make([]float32, m*n)
		for i := range want {
			var sum float64
			for j := range k {
				sum += float64(a[i/n*k+j]) * float64(b[j*n+i%n])
			}
			want[i] = float32(sum)
		}
		got := MatMul(a, b, m, k, n)
		goldens.Near(t, fmt.Sprint("a·b ", s), got, want, 1e-6)
		transposed := make([]float32, k*n)
		for i, v := range b {
			transposed[i%n*k+i/n] = v
		}
		goldens.Near(t, fmt.Sprint("a·bᵀ ", s), MatMulT(a, transposed, m, k, n), want, 1e-6)
	}
}

func TestLayouts(t *testing.T) {
	a, b := []float32{1, 2, 3, 4}, []float32{5, 6}
	goldens.Near(t, "concat", Concat(a, b, 2, 1), []float32{1, 2, 5, 3, 4, 6}, 0)
	goldens.Near(t, "columns", Columns([]float32{1, 2, 3, 4, 5, 6}, 3, 1, 2), []float32{2, 3, 5, 6}, 0)
	goldens.Near(t, "add per channel", AddPerChannel([]float32{1, 2, 3, 4, 1, 2, 3, 4}, []float32{10, 20, 30, 40}, 2),
		[]float32{11, 22, 13, 24, 31, 42, 33, 44}, 0)
	goldens.Near(t, "embedding", Embedding([]float32{1, 0, 0, -1}, a, []float32{10, 20, 30, 40}, 2, 2),
		[]float32{13, 24, 31, 42, 11, 22, 30, 40}, 0)
}

// A normalised group has mean 0 and variance 1 wherever it lies, also about a large mean.
func TestGroupNormMoments(t *testing.T) {
	const n, places, channels, groups = 2, 15, 12, 3
	x, ones := normal(5, n*places*channels), make([]float32, channels)
	for i := range x {
		x[i] = x[i]*3 + 1000
	}
	for i := range ones {
		ones[i] = 1
	}
	y := GroupNorm(x, ones, make([]float32, channels), n, groups, 0)
	for g := range n * groups {
		var sum, squares float64
		for i := range places * channels / groups {
			v := float64(y[g/groups*places*channels+i/4*channels+g%groups*4+i%4])
			sum, squares = sum+v, squares+v*v
		}
		count := float64(places * channels / groups)
		if math.Abs(sum/count) > 1e-6 || math.Abs(squares/count-1) > 1e-6 {
			t.Errorf("group %d: mean %g, mean square %g, want 0 and 1", g, sum/count, squares/count)
		}
	}
}

// A query that sees one key returns its value.
func TestAttentionCausalFirst(t *testing.T) {
	q, k, v := normal(1, 2*3*8), normal(2, 2*3*8), normal(3, 2*3*8)
	y := Attention(q, k, v, 2, 8, 2, true)
	goldens.Near(t, "first query", y[:8], v[:8], 0)
	goldens.Near(t, "first query of the second", y[24:32], v[24:32], 0)
}

func BenchmarkConv3x3(b *testing.B) {
	c := Conv{N: 1, H: 32, W: 32, In: 64, Out: 64, Stride: 1}
	x, w := normal(1, c.H*c.W*c.In), normal(2, c.Out*c.In*9)
	for b.Loop() {
		Conv3x3(x, w, nil, c)
	}
	flops := 2 * 9 * float64(c.H*c.W*c.In*c.Out)
	b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}
